"""REST: parse, call the application, answer. A host application mounts `clm_routes.router`."""
