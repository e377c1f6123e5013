"""What runs inside of a sandbox. It is copied there as text, and uses nothing but a standard library."""
