"""What is measured, a module each. Raw runs lie between the stack's own, so that both meet the same machine."""
