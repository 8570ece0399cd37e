-- Raised by every change to tenants, sources, targets and rule sets, in its own transaction. Processes poll it,
-- and load what they know of these anew when it has moved (storage/directory.ts).
create table configuration (
  singleton boolean primary key default true check (singleton),
  version bigint not null default 0
) with (fillfactor = 40);
insert into configuration default values;

create function raise_configuration_version() returns trigger language plpgsql as $$
begin
  update configuration set version = version + 1;
  return null;
end $$;

-- Deferred to the commit: whoever changes a definition locks its row first and the counter last, so that an owner
-- that pauses a target and somebody who edits several can't wait for each other.
create constraint trigger configuration_changed after insert or delete or update of name, channels
  on tenant deferrable initially deferred for each row execute function raise_configuration_version();
create constraint trigger configuration_changed after insert or delete or update of definition, version, managed_by, removed_at
  on source deferrable initially deferred for each row execute function raise_configuration_version();
create constraint trigger configuration_changed
  after insert or delete or update of definition, version, managed_by, removed_at, paused_at
  on target deferrable initially deferred for each row execute function raise_configuration_version();
create constraint trigger configuration_changed after insert or delete or update of active, managed_by
  on rule_set deferrable initially deferred for each row execute function raise_configuration_version();

-- The targets that its rules name, so that one in use is not removed.
alter table rule_set add column targets text[] not null default '{}';
