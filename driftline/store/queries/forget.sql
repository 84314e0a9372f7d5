-- name: forget_predictions
-- Deletes what is stored of one id's predictions.
delete from driftline.prediction where model_id = %(model_id)s and key = %(key)s::uuid;

-- name: forget_labels
-- Deletes what is stored of one id's labels.
delete from driftline.label where model_id = %(model_id)s and key = %(key)s::uuid;

-- name: forget_served_features
-- Deletes that features of one id came apart from its prediction.
delete from driftline.served_features where model_id = %(model_id)s and key = %(key)s::uuid;

-- name: warm_up_to_forget
-- Events that wait to become a reference, whole, of one model.
select warm_up_id, content from driftline.warm_up where model_id = %(model_id)s order by warm_up_id for update;

-- name: rewrite_warm_up
-- Keeps the other events of the same batch.
update driftline.warm_up set n = %(n)s, content = %(content)s where warm_up_id = %(warm_up_id)s;

-- name: drop_warm_up
-- The batch held nothing else.
delete from driftline.warm_up where warm_up_id = %(warm_up_id)s;

-- name: dead_letters_that_may_tell
-- Dead letters in which these bytes stand somewhere, of these models or of none that is known; also those in Arrow, where
-- a number has other bytes than its text.
select dead_letter_id, detail, payload
  from driftline.dead_letter
 where (model is null or model = any (%(models)s) or %(any_model)s::boolean)
   and (position(%(text)s::bytea in payload) > 0 or position(%(escaped)s::bytea in payload) > 0
        or substring(payload for 4) = %(arrow_begins)s::bytea or position(%(escaped_text)s in detail) > 0);

-- name: empty_dead_letters
-- They keep their reason and place, and nothing of what their messages said.
update driftline.dead_letter set payload = null, detail = 'erased by driftline forget' where dead_letter_id = any (%(ids)s);
