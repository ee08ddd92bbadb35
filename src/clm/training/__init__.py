"""Model families and the trainer that picks among them."""
