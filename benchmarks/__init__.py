"""How fast and how small it is: rows of figures, each next to a peer and a goal (`./stiefel bench`)."""
