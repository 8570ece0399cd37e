-- Usage and what is made from it. See docs/decisions/0028-billing.md.

-- The ledger's own messages (corrections, final statements, notices) come under a source whose name nobody can give.
alter table source drop constraint source_name_check;
alter table source add constraint source_name_check
  check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$' or name = 'waybill.ledger');

insert into source (tenant, name, kind, definition, managed_by, removed_at)
  select id, 'waybill.ledger', 'events', '{"kind":"events"}', 'api', now() from tenant;

-- Meters, rate cards and subscriptions. Removed ones are kept: usage and statements refer to them.
create table billing_definition (
  tenant int not null references tenant,
  id int generated always as identity,
  kind text not null check (kind in ('meter', 'rate-card', 'subscription')),
  name text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  definition jsonb not null,
  managed_by text not null check (managed_by in ('file', 'api')),
  version int not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  removed_at timestamptz,
  -- Of a meter: the marks of the channels between which it counts, by channel.
  since jsonb not null default '{}',
  until jsonb,
  primary key (tenant, id)
);
create unique index billing_definition_name on billing_definition (tenant, kind, name) where removed_at is null;
create index billing_definition_account on billing_definition (tenant, (definition->>'account'))
  where kind = 'subscription' and removed_at is null;

create constraint trigger configuration_changed after insert or delete or update
  on billing_definition deferrable initially deferred for each row execute function raise_configuration_version();

-- A ledger is a book. While one is made anew there are two of them.
create table ledger (
  tenant int primary key references tenant,
  live smallint not null default 1,
  -- The other one, while it is being made.
  rebuilding smallint,
  rebuilding_since timestamptz,
  rebuilding_by text
);

-- Every sequence up to `through` has been seen, and every plan up to `plan` taken.
create table ledger_mark (
  tenant int not null,
  book smallint not null,
  channel smallint not null,
  through bigint not null default 0,
  plan bigint not null default 0,
  -- Sequences that came again and were not counted again.
  repeated bigint not null default 0,
  primary key (tenant, book, channel)
) with (fillfactor = 40);

-- Sequences below the mark that are not counted, and might be usage.
create table ledger_gap (
  tenant int not null,
  book smallint not null,
  channel smallint not null,
  sequence bigint not null,
  reason text not null check (reason in ('parked', 'quarantined', 'partial', 'missing')),
  -- Whose it is and when it happened; null where nothing of it is there.
  account text,
  at timestamptz,
  since timestamptz not null default now(),
  -- When it was asked for last, and how often.
  asked_at timestamptz,
  asked int not null default 0,
  alarmed_at timestamptz,
  primary key (tenant, book, channel, sequence)
);

-- Whose usage, by which meter, told apart by what. Its number stands for all of that in the journal.
create table usage_series (
  tenant int not null,
  id bigint generated always as identity,
  account text not null,
  meter int not null,
  -- Canonical JSON.
  dimensions text not null,
  channel smallint not null,
  -- Since when the account is a pseudonym.
  erased_at timestamptz,
  primary key (tenant, id)
);
create unique index usage_series_known on usage_series (tenant, account, meter, dimensions) where erased_at is null;
create index usage_series_account on usage_series (tenant, account);

-- The journal: one row for each event and meter that counts it.
create table usage_entry (
  tenant int not null,
  book smallint not null,
  channel smallint not null,
  sequence bigint not null,
  series bigint not null,
  -- When it happened; when it came.
  at timestamptz not null,
  arrived_at timestamptz not null,
  value numeric,
  -- Of a meter that tells members apart: 128 bits of a hash. As bytea it would take four times as long to tell a year's apart.
  member uuid,
  -- c: it counts. v: a correction names it. n: an amendment that came too late. h: its period was final, a person decides.
  state "char" not null check (state in ('c', 'v', 'n', 'h')),
  primary key (tenant, book, channel, sequence, series)
);
create index usage_entry_series on usage_entry (tenant, book, series, at);

-- Made from the journal, by hour.
create table usage_cell (
  tenant int not null,
  book smallint not null,
  series bigint not null,
  hour timestamptz not null,
  -- c: count, s: sum, x: greatest, n: least, l: last, u: unique.
  how "char" not null,
  events bigint not null,
  -- Sum, greatest, least or last, as the meter says; null for counts and members.
  value numeric,
  -- Of the last one.
  at timestamptz not null,
  sequence bigint not null,
  -- What it rests on.
  first_sequence bigint not null,
  last_sequence bigint not null,
  primary key (tenant, book, series, hour)
) with (fillfactor = 70);

create table usage_member (
  tenant int not null,
  book smallint not null,
  series bigint not null,
  hour timestamptz not null,
  member uuid not null,
  primary key (tenant, book, series, hour, member)
);

-- What no meter is for, by day of arrival.
create table usage_unmetered (
  tenant int not null,
  book smallint not null,
  channel smallint not null,
  type text not null,
  day date not null,
  events bigint not null,
  -- The last of them.
  sequence bigint not null,
  primary key (tenant, book, channel, type, day)
);

-- Events that a meter is for and can't count.
create table usage_problem (
  tenant int not null,
  book smallint not null,
  channel smallint not null,
  sequence bigint not null,
  meter int not null,
  code text not null,
  account text not null,
  at timestamptz not null,
  primary key (tenant, book, channel, sequence, meter)
);

create table ledger_correction (
  tenant int not null,
  book smallint not null,
  channel smallint not null,
  sequence bigint not null,
  action text not null check (action in ('void', 'amend')),
  target bigint not null,
  who text not null,
  why text not null,
  arrived_at timestamptz not null,
  primary key (tenant, book, channel, sequence)
);
create index ledger_correction_target on ledger_correction (tenant, book, channel, target);

-- Final statements. Never changed.
create table statement (
  tenant int not null,
  account text not null,
  period_from timestamptz not null,
  period_to timestamptz not null,
  channel smallint not null,
  -- Up to this sequence of the channel it is made of all there was.
  through bigint not null,
  -- JSON, canonical, and its SHA-256.
  body text not null,
  hash bytea not null,
  made_at timestamptz not null default now(),
  made_by text not null,
  -- The message that took it to its target; null where it went nowhere yet, or goes nowhere.
  sent text,
  erased_at timestamptz,
  primary key (tenant, account, period_from)
);
create index statement_newest on statement (tenant, period_from desc, account);

-- Thresholds that were passed, and said so.
create table usage_notice (
  tenant int not null,
  account text not null,
  period_from timestamptz not null,
  meter text not null,
  percent int not null,
  at timestamptz not null default now(),
  primary key (tenant, account, period_from, meter, percent)
);

create function how_of(p_aggregation text) returns "char" language sql immutable as $$
  select case p_aggregation when 'count' then 'c' when 'sum' then 's' when 'max' then 'x' when 'min' then 'n'
    when 'last' then 'l' when 'unique' then 'u' end::"char"
$$;

-- Counts the entries of p_series at p_hour anew: corrections change which of them count.
create function recount_cells(p_tenant int, p_book smallint, p_series bigint[], p_hour timestamptz[]) returns void
language plpgsql as $$
begin
  delete from usage_cell c using unnest(p_series, p_hour) as w(series, hour)
    where c.tenant = p_tenant and c.book = p_book and c.series = w.series and c.hour = w.hour;
  delete from usage_member m using unnest(p_series, p_hour) as w(series, hour)
    where m.tenant = p_tenant and m.book = p_book and m.series = w.series and m.hour = w.hour;
  insert into usage_cell (tenant, book, series, hour, how, events, value, at, sequence, first_sequence, last_sequence)
    select p_tenant, p_book, w.series, w.hour, how_of(d.definition->>'aggregation'), t.events,
      case how_of(d.definition->>'aggregation') when 's' then t.sum when 'x' then t.max when 'n' then t.min
        when 'l' then t.last end,
      t.at, t.sequence, t.first, t.final
    from (select distinct * from unnest(p_series, p_hour) as w(series, hour)) w
    join usage_series s on s.tenant = p_tenant and s.id = w.series
    join billing_definition d on d.tenant = p_tenant and d.id = s.meter
    cross join lateral (
      select count(*) as events, sum(e.value) as sum, max(e.value) as max, min(e.value) as min,
        (array_agg(e.value order by e.at desc, e.sequence desc))[1] as last, max(e.at) as at,
        (array_agg(e.sequence order by e.at desc, e.sequence desc))[1] as sequence,
        min(e.sequence) as first, max(e.sequence) as final
      from usage_entry e where e.tenant = p_tenant and e.book = p_book and e.series = w.series
        and e.at >= w.hour and e.at < w.hour + interval '1 hour' and e.state = 'c'
    ) t
    where t.events > 0;
  insert into usage_member (tenant, book, series, hour, member)
    select distinct p_tenant, p_book, w.series, w.hour, e.member from unnest(p_series, p_hour) as w(series, hour)
    join usage_entry e on e.tenant = p_tenant and e.book = p_book and e.series = w.series
      and e.at >= w.hour and e.at < w.hour + interval '1 hour' and e.state = 'c'
    where e.member is not null;
end $$;

-- These messages and all that corrects them, or corrects that: of two amendments of one message the first counts, and one of an
-- amendment goes back to what that amends, in whatever order they are read. Null where there are none.
create function with_corrections(p_tenant int, p_book smallint, p_channel smallint, p_sequences bigint[]) returns bigint[]
language sql stable as $$
  with recursive touched as (
    select unnest(p_sequences) as sequence
    union select c.sequence from touched t join ledger_correction c on c.tenant = p_tenant and c.book = p_book
      and c.channel = p_channel and c.target = t.sequence
  )
  select array_agg(sequence) from touched
$$;

-- Writes what a batch of one channel comes to, beside its journal, and moves its mark. The caller holds the mark's row.
-- p_sequence: what the journal was given. p_series to p_to: cells; p_member*: their members.
create function take_usage(
  p_tenant int, p_book smallint, p_channel smallint, p_through bigint, p_plan bigint, p_repeated bigint,
  p_gap bigint[], p_gap_reason text[], p_gap_account text[], p_gap_at text[], p_healed bigint[],
  p_sequence bigint[], p_series bigint[], p_hour text[], p_how text[], p_events bigint[], p_value text[], p_at text[],
  p_last bigint[], p_from bigint[], p_to bigint[], p_member_series bigint[], p_member_hour text[],
  p_member uuid[],
  p_unmetered_type text[], p_unmetered_day text[], p_unmetered_events bigint[], p_unmetered_sequence bigint[],
  p_problem_sequence bigint[], p_problem_meter int[], p_problem_code text[], p_problem_account text[], p_problem_at text[],
  p_correction_sequence bigint[], p_correction_action text[], p_correction_target bigint[], p_correction_who text[],
  p_correction_why text[], p_correction_arrived text[]
) returns void language plpgsql as $$
declare
  v_named bigint[];
begin
  update ledger_mark set through = p_through, plan = p_plan, repeated = repeated + p_repeated
    where tenant = p_tenant and book = p_book and channel = p_channel;

  if cardinality(p_gap) > 0 then
    insert into ledger_gap as g (tenant, book, channel, sequence, reason, account, at)
      select p_tenant, p_book, p_channel, i.sequence, i.reason, i.account, i.at::timestamptz
      from unnest(p_gap, p_gap_reason, p_gap_account, p_gap_at) as i(sequence, reason, account, at)
      on conflict (tenant, book, channel, sequence) do update set reason = excluded.reason,
        account = coalesce(excluded.account, g.account), at = coalesce(excluded.at, g.at);
  end if;
  if cardinality(p_healed) > 0 then
    delete from ledger_gap where tenant = p_tenant and book = p_book and channel = p_channel
      and sequence = any (p_healed);
  end if;

  if cardinality(p_series) > 0 then
    insert into usage_cell as old
        (tenant, book, series, hour, how, events, value, at, sequence, first_sequence, last_sequence)
      select p_tenant, p_book, c.series, c.hour::timestamptz, c.how::"char", c.events, c.value::numeric, c.at::timestamptz,
        c.last, c.from_sequence, c.to_sequence
      from unnest(p_series, p_hour, p_how, p_events, p_value, p_at, p_last, p_from, p_to)
        as c(series, hour, how, events, value, at, last, from_sequence, to_sequence)
      on conflict (tenant, book, series, hour) do update set
        events = old.events + excluded.events,
        value = case excluded.how
          when 's' then old.value + excluded.value
          when 'x' then greatest(old.value, excluded.value)
          when 'n' then least(old.value, excluded.value)
          when 'l' then case when (excluded.at, excluded.sequence) > (old.at, old.sequence)
            then excluded.value else old.value end
          end,
        at = greatest(old.at, excluded.at),
        sequence = case when (excluded.at, excluded.sequence) > (old.at, old.sequence)
          then excluded.sequence else old.sequence end,
        first_sequence = least(old.first_sequence, excluded.first_sequence),
        last_sequence = greatest(old.last_sequence, excluded.last_sequence);
  end if;
  if cardinality(p_member) > 0 then
    insert into usage_member (tenant, book, series, hour, member)
      select p_tenant, p_book, m.series, m.hour::timestamptz, m.member
      from unnest(p_member_series, p_member_hour, p_member) as m(series, hour, member)
      on conflict do nothing;
  end if;

  if cardinality(p_unmetered_type) > 0 then
    insert into usage_unmetered as u (tenant, book, channel, type, day, events, sequence)
      select p_tenant, p_book, p_channel, i.type, i.day::date, i.events, i.sequence
      from unnest(p_unmetered_type, p_unmetered_day, p_unmetered_events, p_unmetered_sequence)
        as i(type, day, events, sequence)
      on conflict (tenant, book, channel, type, day) do update set events = u.events + excluded.events,
        sequence = excluded.sequence;
  end if;

  if cardinality(p_problem_sequence) > 0 then
    insert into usage_problem (tenant, book, channel, sequence, meter, code, account, at)
      select p_tenant, p_book, p_channel, i.sequence, i.meter, i.code, i.account, i.at::timestamptz
      from unnest(p_problem_sequence, p_problem_meter, p_problem_code, p_problem_account, p_problem_at)
        as i(sequence, meter, code, account, at);
  end if;

  if cardinality(p_correction_sequence) > 0 then
    insert into ledger_correction (tenant, book, channel, sequence, action, target, who, why, arrived_at)
      select p_tenant, p_book, p_channel, i.sequence, i.action, i.target, i.who, i.why, i.arrived::timestamptz
      from unnest(p_correction_sequence, p_correction_action, p_correction_target, p_correction_who, p_correction_why,
        p_correction_arrived) as i(sequence, action, target, who, why, arrived);
  end if;

  -- What this batch names, what it amends with, and what of it was named before it came.
  v_named := p_correction_sequence || p_correction_target
    || array(select c.target from ledger_correction c where c.tenant = p_tenant and c.book = p_book
      and c.channel = p_channel and c.target = any (p_sequence));
  if cardinality(v_named) > 0 then
    -- Of 0013: it asks backfills as well.
    perform apply_corrections(p_tenant, p_book, p_channel,
      with_corrections(p_tenant, p_book, p_channel, v_named));
  end if;
end $$;
