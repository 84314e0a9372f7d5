"""How much does a stream swing where nothing has changed? Tests of windows and of series ask for less than that."""
