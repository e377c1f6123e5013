"""`python -m services.runner`: a runner, and the process that watches over it."""

from services.runner.supervisor import main

if __name__ == "__main__":
    main()
