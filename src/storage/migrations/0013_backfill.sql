-- Backfills, and what a meter holds of a final period. See docs/decisions/0031-backfill.md.

-- b: its backfill is not closed, or was taken back. k: the meter has counted an event of this identity already.
alter table usage_entry drop constraint usage_entry_state_check;
alter table usage_entry add constraint usage_entry_state_check check (state in ('c', 'v', 'n', 'h', 'b', 'k'));
create index usage_entry_held on usage_entry (tenant, book, channel, sequence) where state = 'h';

-- What people ask for. What counts is said by messages alone.
create table backfill (
  tenant int not null references tenant,
  id int not null,
  -- closing, reverting: not all channels have been told yet.
  state text not null check (state in ('open', 'closing', 'closed', 'reverting', 'reverted')),
  -- Its events are of this time.
  first timestamptz not null,
  until timestamptz not null,
  -- Of this account alone; null: of any.
  account text,
  opened_by text not null,
  why text not null,
  opened_at timestamptz not null default now(),
  closed_by text,
  closed_at timestamptz,
  reverted_by text,
  reverted_why text,
  reverted_at timestamptz,
  -- Those that came again among them.
  sent bigint not null default 0,
  alarmed_at timestamptz,
  primary key (tenant, id)
);
create index backfill_unfinished on backfill (tenant, id) where state in ('open', 'closing', 'reverting');

-- Whose events are in it, and of when.
create table backfill_account (
  tenant int not null,
  backfill int not null,
  account text not null,
  channel smallint not null,
  first timestamptz not null,
  last timestamptz not null,
  -- The last of them in the channel, as far as its sender was told.
  sequence bigint not null default 0,
  primary key (tenant, backfill, account)
);
create index backfill_account_known on backfill_account (tenant, account);

-- Which sequences are a backfill's.
create table backfill_event (
  tenant int not null,
  book smallint not null,
  channel smallint not null,
  sequence bigint not null,
  backfill int not null,
  -- 64 bits of the fingerprint that the event would have by itself.
  identity bigint not null,
  primary key (tenant, book, channel, sequence)
);
create index backfill_event_identity on backfill_event (tenant, book, channel, identity);
create index backfill_event_backfill on backfill_event (tenant, book, backfill, channel);

-- Events that came by themselves and are the same as one of a backfill.
create table backfill_known (
  tenant int not null,
  book smallint not null,
  channel smallint not null,
  sequence bigint not null,
  known bigint not null,
  primary key (tenant, book, channel, sequence, known)
);

-- That a backfill counts from here on, or counts no more.
create table backfill_word (
  tenant int not null,
  book smallint not null,
  channel smallint not null,
  sequence bigint not null,
  backfill int not null,
  action text not null check (action in ('close', 'revert')),
  who text not null,
  why text not null,
  arrived_at timestamptz not null,
  primary key (tenant, book, channel, sequence)
);
create index backfill_word_backfill on backfill_word (tenant, book, channel, backfill, action);

-- That a message which a meter held is to count.
create table ledger_acceptance (
  tenant int not null,
  book smallint not null,
  channel smallint not null,
  sequence bigint not null,
  target bigint not null,
  who text not null,
  why text not null,
  arrived_at timestamptz not null,
  primary key (tenant, book, channel, sequence)
);
create index ledger_acceptance_target on ledger_acceptance (tenant, book, channel, target);

-- The identities of events that were counted by themselves, a row a batch: written by every batch, read when a backfill is
-- closed. Keys of the channel are gone after its window, and content after a while.
create table ledger_identity (
  tenant int not null,
  book smallint not null,
  channel smallint not null,
  first_sequence bigint not null,
  sequences bigint[] not null,
  identities bigint[] not null,
  primary key (tenant, book, channel, first_sequence)
);
-- They are random: nothing to be gained.
alter table ledger_identity alter column identities set storage external;
-- Numbers in a row, but making them smaller takes 0.7 µs an event.
alter table ledger_identity alter column sequences set storage external;

-- Whether a channel has been told that a backfill counts, and not that it counts no more.
create function backfill_counts(p_tenant int, p_book smallint, p_channel smallint, p_backfill int) returns boolean
language sql stable as $$
  select exists (select from backfill_word where tenant = p_tenant and book = p_book and channel = p_channel
      and backfill = p_backfill and action = 'close')
    and not exists (select from backfill_word where tenant = p_tenant and book = p_book and channel = p_channel
      and backfill = p_backfill and action = 'revert')
$$;

-- Which of the entries of these messages count: see billing/correction.ts and billing/backfill.ts. The hours this touches
-- are counted anew.
create function apply_corrections(p_tenant int, p_book smallint, p_channel smallint, p_sequences bigint[])
returns void language plpgsql as $$
declare
  v_series bigint[];
  v_hour timestamptz[];
  v_nestloop text := current_setting('enable_nestloop');
begin
  -- Nothing is known of how long a list is, and a list would be read through once for each message: of many, lists are joined by
  -- hash, and what is looked up for one message is looked up by an index, without a join. Planned anew each time, since plans
  -- outlive settings.
  if cardinality(p_sequences) > 100 then
    set local enable_nestloop = off;
  end if;
  execute $q$
  with recursive origin as (
    -- An amendment goes back to what it amends.
    select s.sequence, s.sequence as at from (select distinct unnest($4) as sequence) s
    union
    select o.sequence, c.target from origin o join ledger_correction c on c.tenant = $1 and c.book = $2
      and c.channel = $3 and c.sequence = o.at
  ), filled as materialized (
    select o.sequence, b.sequence as at, b.identity, backfill_counts($1, $2, $3, b.backfill) as counts
    from origin o join backfill_event b on b.tenant = $1 and b.book = $2 and b.channel = $3 and b.sequence = o.at
  ), judged as (
    select e.sequence, e.series, case
        when exists (select from ledger_correction c where c.tenant = $1 and c.book = $2
          and c.channel = $3 and c.target = e.sequence) then 'v'
        when exists (select from ledger_correction o where o.tenant = $1 and o.book = $2 and o.channel = $3
          and o.sequence = e.sequence and exists (select from ledger_correction c where c.tenant = $1 and c.book = $2
            and c.channel = $3 and c.target = o.target and c.sequence < o.sequence)) then 'n'
        when f.counts = false then 'b'
        -- The same meter has it from an event that came by itself, or from one of a backfill that came first.
        when f.counts and exists (
          select from usage_entry o where o.tenant = $1 and o.book = $2 and o.channel = $3
            and o.sequence = any (array(
              select k.known from backfill_known k where k.tenant = $1 and k.book = $2 and k.channel = $3
                and k.sequence = f.at
              union all
              select b.sequence from backfill_event b where b.tenant = $1 and b.book = $2 and b.channel = $3
                and b.identity = f.identity and b.sequence < f.at and backfill_counts($1, $2, $3, b.backfill)))
            and (select os.meter from usage_series os where os.tenant = $1 and os.id = o.series)
              = (select es.meter from usage_series es where es.tenant = $1 and es.id = e.series)) then 'k'
        when e.state = 'h' and not exists (select from ledger_acceptance a where a.tenant = $1 and a.book = $2
          and a.channel = $3 and a.target = e.sequence) then 'h'
        else 'c' end::"char" as state
    from usage_entry e left join filled f on f.sequence = e.sequence
    where e.tenant = $1 and e.book = $2 and e.channel = $3 and e.sequence = any ($4)
  ), changed as (
    update usage_entry e set state = j.state from judged j where e.tenant = $1 and e.book = $2 and e.channel = $3
      and e.sequence = any ($4) and e.sequence = j.sequence and e.series = j.series and e.state <> j.state
    returning e.series, date_trunc('hour', e.at, 'UTC') as hour
  )
  select array_agg(series), array_agg(hour) from (select distinct series, hour from changed) c
  $q$ into v_series, v_hour using p_tenant, p_book, p_channel, p_sequences;
  perform set_config('enable_nestloop', v_nestloop, true);
  if v_series is not null then
    perform recount_cells(p_tenant, p_book, v_series, v_hour);
  end if;
end $$;

-- Says anew of these messages whether they count, and of all that this changes in turn. p_look_up: events of backfills to be
-- looked for among all that was counted by itself.
create function settle_backfills(
  p_tenant int, p_book smallint, p_channel smallint, p_look_up bigint[], p_told bigint[]
) returns void language plpgsql as $$
declare
  v_touched bigint[];
  v_identities bigint[];
begin
  if cardinality(p_look_up) > 0 then
    with wanted as materialized (
      select b.sequence, b.identity from backfill_event b where b.tenant = p_tenant and b.book = p_book
        and b.channel = p_channel and b.sequence = any (p_look_up)
    )
    insert into backfill_known (tenant, book, channel, sequence, known)
      select p_tenant, p_book, p_channel, w.sequence, i.sequence
      from ledger_identity l cross join lateral unnest(l.sequences, l.identities) as i(sequence, identity)
      join wanted w on w.identity = i.identity
      where l.tenant = p_tenant and l.book = p_book and l.channel = p_channel
      on conflict do nothing;
  end if;
  -- Lists, not joins: a table that has just been filled is thought to be empty, and would be read once for each.
  v_identities := array(select distinct b.identity from backfill_event b where b.tenant = p_tenant and b.book = p_book
    and b.channel = p_channel and b.sequence = any (p_told));
  v_touched := with_corrections(p_tenant, p_book, p_channel, p_told || array(select b.sequence from backfill_event b
    where b.tenant = p_tenant and b.book = p_book and b.channel = p_channel and b.identity = any (v_identities)));
  if v_touched is not null then
    perform apply_corrections(p_tenant, p_book, p_channel, v_touched);
  end if;
end $$;

-- Writes what a batch of one channel says of backfills and of what is held, after take_usage and in its transaction.
-- p_own_*: events that came by themselves and are counted. p_hold: what may have been held, whose acceptance came first.
create function take_backfills(
  p_tenant int, p_book smallint, p_channel smallint, p_own_sequence bigint[], p_own_identity bigint[],
  p_event bigint[], p_event_backfill int[], p_event_identity bigint[],
  p_word bigint[], p_word_backfill int[], p_word_action text[], p_word_who text[], p_word_why text[], p_word_arrived text[],
  p_acceptance bigint[], p_acceptance_target bigint[], p_acceptance_who text[], p_acceptance_why text[],
  p_acceptance_arrived text[], p_hold bigint[]
) returns void language plpgsql as $$
declare
  v_told bigint[];
  v_look_up bigint[] := '{}';
begin
  if cardinality(p_own_sequence) > 0 then
    insert into ledger_identity (tenant, book, channel, first_sequence, sequences, identities)
      select p_tenant, p_book, p_channel, min(s), p_own_sequence, p_own_identity from unnest(p_own_sequence) s;
  end if;
  insert into ledger_acceptance (tenant, book, channel, sequence, target, who, why, arrived_at)
    select p_tenant, p_book, p_channel, i.sequence, i.target, i.who, i.why, i.arrived::timestamptz
    from unnest(p_acceptance, p_acceptance_target, p_acceptance_who, p_acceptance_why, p_acceptance_arrived)
      as i(sequence, target, who, why, arrived);
  insert into backfill_event (tenant, book, channel, sequence, backfill, identity)
    select p_tenant, p_book, p_channel, i.sequence, i.backfill, i.identity
    from unnest(p_event, p_event_backfill, p_event_identity) as i(sequence, backfill, identity);
  insert into backfill_word (tenant, book, channel, sequence, backfill, action, who, why, arrived_at)
    select p_tenant, p_book, p_channel, i.sequence, i.backfill, i.action, i.who, i.why, i.arrived::timestamptz
    from unnest(p_word, p_word_backfill, p_word_action, p_word_who, p_word_why, p_word_arrived)
      as i(sequence, backfill, action, who, why, arrived);

  v_told := p_acceptance_target || array(select a.target from ledger_acceptance a where a.tenant = p_tenant
    and a.book = p_book and a.channel = p_channel and a.target = any (p_hold));
  if exists (select from backfill_event where tenant = p_tenant and book = p_book and channel = p_channel) then
    -- What came by itself just now, and is the same.
    with known as (
      insert into backfill_known (tenant, book, channel, sequence, known)
        select p_tenant, p_book, p_channel, b.sequence, i.sequence
        from unnest(p_own_sequence, p_own_identity) as i(sequence, identity)
        join backfill_event b on b.tenant = p_tenant and b.book = p_book and b.channel = p_channel
          and b.identity = i.identity
        on conflict do nothing returning sequence
    )
    select v_told || p_event || coalesce(array_agg(sequence), '{}') into v_told from known;
    v_told := v_told || array(select b.sequence from backfill_event b where b.tenant = p_tenant and b.book = p_book
      and b.channel = p_channel and b.backfill = any (p_word_backfill));
    -- What came by itself at any time is looked for once, as a backfill is closed, and for what of it is read only then.
    v_look_up := array(
      select b.sequence from backfill_event b where b.tenant = p_tenant and b.book = p_book and b.channel = p_channel
        and b.backfill in (select i.backfill from unnest(p_word_backfill, p_word_action) as i(backfill, action)
          where i.action = 'close')
      union
      select i.sequence from unnest(p_event, p_event_backfill) as i(sequence, backfill)
        where backfill_counts(p_tenant, p_book, p_channel, i.backfill));
  end if;
  if cardinality(v_told) > 0 then
    perform settle_backfills(p_tenant, p_book, p_channel, v_look_up, v_told);
  end if;
end $$;
