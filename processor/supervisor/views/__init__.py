"""What the server shows of its state: listings, metrics, the page, the routing table."""
