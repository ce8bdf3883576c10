"""What measures Corelane, and against whom. Numbers in the README and in docs/ name the command that printed them."""
