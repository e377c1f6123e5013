"""The bare pipeline: what PostgreSQL and NATS reach with nothing done but the moving of messages and rows.

Per node one task and one result travel through JetStream, eight to a message, and two rows are inserted in shared
transactions. A driver and a runner process of their own, on the same servers, which they talk to as the services do.
"""
