"""A rolling restart of every pod of the chart, as processes, under load: what fails, what is repeated, what waits."""
