"""Makes what is stored at once overlap, which it does now and then by itself."""

import asyncpg


async def let_overlap(database_url: str, table: str) -> None:
    """From now on each row of a table ("schema.table") takes a fifth of a second to be stored."""
    schema = table.partition(".")[0]
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            f"""
            CREATE FUNCTION {schema}.take_a_moment() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN PERFORM pg_sleep(0.2); RETURN NEW; END';
            CREATE TRIGGER slow BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {schema}.take_a_moment();
            """
        )
    finally:
        await connection.close()
