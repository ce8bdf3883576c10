"""What measures Corelane, and against whom. Every number in the README names the command here that printed it."""
