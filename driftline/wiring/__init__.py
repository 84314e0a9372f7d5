"""The composition root: which concrete things are put together for each command."""
