-- name: making_of_roles
-- What makes those of the roles that are not there yet; none of them may log in so far.
select format('create role %%I nologin nosuperuser nocreatedb nocreaterole noreplication nobypassrls', wanted.name) as statement
  from unnest(array[%(migrator)s, %(writer)s, %(reader)s]::text[]) with ordinality wanted (name, place)
 where not exists (select from pg_roles where rolname = wanted.name)
 order by wanted.place;

-- name: handing_over
-- What makes the migrator the owner of the schema and all that is in it, and takes back what that needs.
select statement
  from (select 1 as place, format('grant %%I to current_user', %(migrator)s::text) as statement
         where not pg_has_role(current_user, %(migrator)s::text, 'member')
        union all
        select step.place, format(step.form, step.subject, %(migrator)s::text)
          from pg_namespace n,
               (values (2, 'grant create on database %%I to %%I', current_database()),
                       (3, 'alter schema %%I owner to %%I', 'driftline'),
                       (6, 'revoke create on database %%I from %%I', current_database())) step (place, form, subject)
         where n.nspname = 'driftline' and n.nspowner <> %(migrator)s::text::regrole
        union all
        select 4, format('alter %%s %%s owner to %%I', case t.relkind when 'v' then 'view' else 'table' end, t.oid::regclass,
                         %(migrator)s::text)
          from pg_class t
         where t.relnamespace = 'driftline'::regnamespace and t.relkind in ('r', 'p', 'v')
           and t.relowner <> %(migrator)s::text::regrole
        union all
        select 5, format('alter function %%s owner to %%I', f.oid::regprocedure, %(migrator)s::text)
          from pg_proc f
         where f.pronamespace = 'driftline'::regnamespace and f.proowner <> %(migrator)s::text::regrole) step
 order by place;

-- name: granting
-- What gives writer and reader what they need, and takes from them whatever else they had in the schema.
with target as (
    select t.oid::regclass as relation, t.relkind = 'v' as is_view, t.relname as name
      from pg_class t
     where t.relnamespace = 'driftline'::regnamespace and t.relkind in ('r', 'p', 'v') and not t.relispartition
)
select statement
  from (select 1 as place, format('revoke all on all tables in schema driftline from %%I, %%I', %(writer)s::text, %(reader)s::text) as statement
        union all
        select 2, format('revoke all on all functions in schema driftline from %%I', %(reader)s::text)
        union all
        select 3, format('revoke all on schema driftline from %%I, %%I', %(writer)s::text, %(reader)s::text)
        union all
        select 4, format('grant usage on schema driftline to %%I, %%I', %(writer)s::text, %(reader)s::text)
        union all
        select 5, format('grant %%s on %%s to %%I',
                         case when is_view or name in ('migration', 'installation') then 'select'
                              when name = 'audit' then 'select, insert'
                              else 'select, insert, update, delete' end, relation, %(writer)s::text)
          from target
        union all
        select 6, format('grant execute on all functions in schema driftline to %%I', %(writer)s::text)
        union all
        select 7, format('grant select on %%s to %%I', relation, %(reader)s::text)
          from target
         where is_view and name <> 'v_dead_letters') step
 order by place;

-- name: admitting
-- What lets a role log in with a password, of which the server gets to know a verifier only.
select format('alter role %%I login password %%L', %(role)s::text, %(verifier)s::text) as statement;

-- name: logins
-- Which of the roles may log in.
select rolname as name, rolcanlogin as may_log_in from pg_roles where rolname = any (%(roles)s);

-- name: owner
-- Whose the schema is, or its ledger, which a restore without owners makes another's; nothing if there is none.
select pg_get_userbyid(coalesce(c.relowner, n.nspowner)) as name
  from pg_namespace n left join pg_class c on c.relnamespace = n.oid and c.relname = 'migration'
 where n.nspname = 'driftline' and coalesce(c.relowner, n.nspowner) <> current_user::regrole;
