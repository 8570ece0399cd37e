-- What needs a person is one list: messages that wait, and what the quarantine holds, by when each began to need somebody.

-- A snoozed message needs somebody from its time on, so nothing is written when that comes.
create index standing_due on standing (tenant, (coalesce(snoozed_until, since)), channel, sequence) where state = 'waiting';
drop index standing_waiting;

alter table quarantine add column since timestamptz not null default now();
update quarantine set since = arrived_at;
create index quarantine_since on quarantine (tenant, since, number) where state = 'held';

-- How many need somebody, as a sum of additions and subtractions: whoever changes what is counted adds a row in the same
-- transaction and waits for nobody. Rows are summed up now and then (storage/inbox-counts.ts). need is 'unrouted' or the
-- cause of what is held; due is the minute in which a snoozed one's time comes, -infinity of all others.
create table inbox_count (
  tenant int not null,
  need text not null,
  due timestamptz not null,
  n bigint not null
);
create index inbox_count_tenant on inbox_count (tenant);

create function due_minute(p_snoozed_until timestamptz) returns timestamptz language sql immutable as $$
  select coalesce(date_bin('1 minute', p_snoozed_until, 'epoch'), '-infinity')
$$;

-- Messages to be put into the search index apart from its cursor: what could not be read when the cursor passed it, or
-- came back to the inbox.
create table search_late (
  tenant int not null,
  channel smallint not null,
  sequence bigint not null,
  primary key (tenant, channel, sequence)
);

create function standing_changed() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into inbox_count (tenant, need, due, n)
      select tenant, 'unrouted', due_minute(snoozed_until), count(*) from added where state = 'waiting' group by 1, 3;
  elsif tg_op = 'DELETE' then
    insert into inbox_count (tenant, need, due, n)
      select tenant, 'unrouted', due_minute(snoozed_until), -count(*) from removed where state = 'waiting' group by 1, 3;
  else
    insert into inbox_count (tenant, need, due, n)
      select tenant, 'unrouted', due, sum(n) from (
        select tenant, due_minute(snoozed_until) as due, 1 as n from added where state = 'waiting'
        union all
        select tenant, due_minute(snoozed_until), -1 from removed where state = 'waiting') c
      group by 1, 3 having sum(n) <> 0;
    insert into search_late (tenant, channel, sequence)
      select tenant, channel, sequence from added a join removed r using (tenant, channel, sequence)
      where a.state <> r.state and (a.state = 'waiting' or r.state in ('parked', 'quarantined'))
      order by tenant, channel, sequence
      on conflict do nothing;
  end if;
  return null;
end $$;
create trigger standing_added after insert on standing
  referencing new table as added for each statement execute function standing_changed();
create trigger standing_updated after update on standing
  referencing old table as removed new table as added for each statement execute function standing_changed();
create trigger standing_removed after delete on standing
  referencing old table as removed for each statement execute function standing_changed();

create function quarantine_changed() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into inbox_count (tenant, need, due, n)
      select tenant, cause, '-infinity', count(*) from added where state = 'held' group by 1, 2;
  elsif tg_op = 'DELETE' then
    insert into inbox_count (tenant, need, due, n)
      select tenant, cause, '-infinity', -count(*) from removed where state = 'held' group by 1, 2;
  else
    insert into inbox_count (tenant, need, due, n)
      select tenant, cause, '-infinity', sum(n) from (
        select tenant, cause, 1 as n from added where state = 'held'
        union all
        select tenant, cause, -1 from removed where state = 'held') c
      group by 1, 2 having sum(n) <> 0;
  end if;
  return null;
end $$;
create trigger quarantine_added after insert on quarantine
  referencing new table as added for each statement execute function quarantine_changed();
create trigger quarantine_updated after update on quarantine
  referencing old table as removed new table as added for each statement execute function quarantine_changed();
create trigger quarantine_removed after delete on quarantine
  referencing old table as removed for each statement execute function quarantine_changed();

insert into inbox_count (tenant, need, due, n)
  select tenant, 'unrouted', due_minute(snoozed_until), count(*) from standing where state = 'waiting' group by 1, 3
  union all
  select tenant, cause, '-infinity', count(*) from quarantine where state = 'held' group by 1, 2;

-- Somebody wants to see to a message herself. It binds nobody else.
create table claim (
  tenant int not null,
  channel smallint not null,
  sequence bigint not null,
  who text not null,
  claimed_at timestamptz not null default now(),
  until timestamptz not null,
  primary key (tenant, channel, sequence)
);
create index claim_who on claim (tenant, who);
create index claim_until on claim (until);

-- Who has a message open, by the live stream of each page that shows it. What is not said again is over.
create unlogged table presence (
  tenant int not null,
  stream uuid not null,
  channel smallint not null,
  sequence bigint not null,
  who text not null,
  seen_at timestamptz not null default now(),
  primary key (tenant, stream)
);

-- The words of messages: folded by the program (message/folded.ts), each with its tenant in front, so that what others
-- write makes nobody's search slower.
create table search_words (
  tenant int not null,
  channel smallint not null,
  sequence bigint not null,
  words tsvector not null,
  primary key (tenant, channel, sequence)
);
create index search_words_gin on search_words using gin (words);

-- Up to where a channel's messages are in the index; passed: that one was passed over last, because its kind is not.
create table search_cursor (
  tenant int not null,
  channel smallint not null,
  filled bigint not null default 0,
  passed bigint not null default 0,
  primary key (tenant, channel)
) with (fillfactor = 40);
