"""What tests of several folders need: waiting, ports, a Redis of one's own."""
