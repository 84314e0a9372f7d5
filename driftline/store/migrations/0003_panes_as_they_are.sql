-- What waits for its slide is read once and deleted, minutes or an hour later: to compress it, vector by vector, cost the
-- database more than everything else about it. Only what is written from now on is stored as it is; nothing is rewritten.

alter table driftline.pane alter column vector set storage external;
alter table driftline.outcome alter column vector set storage external;
