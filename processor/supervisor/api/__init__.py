"""What operators, clients and gateways ask of the supervisor."""
