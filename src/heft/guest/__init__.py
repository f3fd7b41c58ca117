"""What machines with a kernel of their own are made of: shared by the weights that have one."""
