"""What `blockyard doctor` asks in the place of a service, with the settings that the service itself would read.

`python -m services.<service>.doctor` tells a finding a line, as JSON; the command line shows them to people.
"""
