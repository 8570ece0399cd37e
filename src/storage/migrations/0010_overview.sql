-- Figures over time, for the overview: what the counters of a tenant stood at. Rates are differences of these.
-- step is the distance of samples in seconds: 10 for the last two hours, 300 for the last eight days.
create table sample (
  tenant int not null references tenant,
  step smallint not null check (step in (10, 300)),
  -- Multiple of step that it is for; it was taken at `at`, a little later.
  slot timestamptz not null,
  at timestamptz not null,
  -- Counters: arrivals that got a verdict, messages numbered, messages planned, deliveries that were taken.
  accepted bigint not null,
  sequenced bigint not null,
  routed bigint not null,
  -- Null while more waits for a target without order than is counted.
  delivered bigint,
  -- Of the accepted: those that got no number.
  duplicates bigint not null,
  conflicts bigint not null,
  expired bigint not null,
  -- Deliveries that ended failed or cancelled since samples are taken: their numbers were given, and nothing was delivered.
  lost bigint not null,
  -- What waited for a person, counted up to 100,000.
  inbox int not null,
  primary key (tenant, step, slot)
);

-- What each target had yet to get at a sample; no row where nothing waited.
create table sample_lag (
  tenant int not null,
  step smallint not null,
  slot timestamptz not null,
  target int not null,
  waiting bigint not null,
  oldest timestamptz not null,
  primary key (tenant, step, slot, target),
  foreign key (tenant, step, slot) references sample on delete cascade
);

-- Counts what was lost since the sample before.
create index delivery_lost on delivery (tenant, settled_at) where state in ('failed', 'cancelled');

-- What came with the key of a message and other content, for that message's story.
create index quarantine_of on quarantine (tenant, of_channel, of_sequence) where of_sequence is not null;

-- What each target of a tenant has yet to get; of all tenants where none is named. Goes from busy line to busy line, so
-- that idle ones cost nothing. In order, everything behind a line's head waits with it, and the numbers of both ends tell
-- how much that is. Without order it is counted, up to p_most a target; `more` says that there may be more.
create function target_lag(p_tenant int, p_most int)
returns table (tenant int, target int, waiting bigint, more boolean, oldest timestamptz) language sql stable as $$
  with recursive head as (
    (select d.tenant, d.channel, d.target, d.epoch, d.number, d.created_at from delivery d
     where d.state = 'pending' and d.tenant between coalesce(p_tenant, 0) and coalesce(p_tenant, 2147483647)
     order by d.tenant, d.channel, d.target, d.epoch, d.number limit 1)
    union all
    select n.* from head h cross join lateral (
      select d.tenant, d.channel, d.target, d.epoch, d.number, d.created_at from delivery d
      where d.state = 'pending' and d.tenant <= coalesce(p_tenant, 2147483647)
        and (d.tenant, d.channel, d.target) > (h.tenant, h.channel, h.target)
      order by d.tenant, d.channel, d.target, d.epoch, d.number limit 1) n
  ), together as (
    select h.tenant, h.target, min(h.created_at) as oldest,
      sum(case when h.epoch = l.epoch then l.last_number - h.number + 1 else l.last_number end)::bigint as behind
    from head h join line l on l.tenant = h.tenant and l.target = h.target and l.channel = h.channel
    group by h.tenant, h.target
  )
  select g.tenant, g.target, c.waiting, not in_line.yes and c.waiting >= p_most, g.oldest
  from together g
  join target t on t.tenant = g.tenant and t.id = g.target
  cross join lateral (
    select coalesce(t.definition->>'order', case when t.kind in ('queue', 'pull') then 'channel' else 'none' end) = 'channel'
      as yes) in_line
  cross join lateral (
    select case when in_line.yes then g.behind else (select count(*) from (
      select from delivery d where d.tenant = g.tenant and d.target = g.target and d.state = 'pending' limit p_most) d)
    end as waiting offset 0) c
$$;
