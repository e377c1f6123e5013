"""What the notification service serves over HTTP: events for browsers and simple programs, and pages."""
