"""The whole loop over stored history, with a clock played back: what would each policy have come to?"""
