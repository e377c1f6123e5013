"""What the tasks of Taskfile.yml run that is more than a command line."""
