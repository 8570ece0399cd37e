-- Messages of one conversation: mails by Message-ID, In-Reply-To and References, others by a key that their source names.
create table thread (
  tenant int not null,
  id bigint generated always as identity,
  -- Numbers are given under this row's lock.
  last_number bigint not null default 0,
  primary key (tenant, id)
) with (fillfactor = 40);

-- What leads to a thread: message ids and keys, as hashes by the installation's secret. 16 bytes.
create table thread_reference (
  tenant int not null,
  hash bytea not null,
  thread bigint not null,
  primary key (tenant, hash)
);
create index thread_reference_thread on thread_reference (tenant, thread);

create table thread_message (
  tenant int not null,
  channel smallint not null,
  sequence bigint not null,
  thread bigint not null,
  -- 1, 2, 3 … by time of receipt; never given anew.
  number bigint not null,
  -- Source, and of mail the address of ours it came to where that is its account: a hash as above. Who is followed has the same.
  party bytea not null,
  -- Hashes of what was found in it; shape in routing/thread/content.ts. Null where not all of it could be read.
  content json,
  -- Where the conversation went with it, also where nothing of it was new; null until it is planned.
  targets int[],
  primary key (tenant, channel, sequence),
  unique (tenant, thread, number)
) with (fillfactor = 80);

-- Threads of which a message was found to belong to both. Each keeps its numbers.
create table thread_link (
  tenant int not null,
  thread bigint not null,
  other bigint not null check (thread < other),
  primary key (tenant, thread, other)
);
create index thread_link_other on thread_link (tenant, other);

-- Gives messages their numbers, in the order given. p_begun: the tenants of threads that begin here, of which the nth is -n
-- in what follows. p_ref_*: what leads to a thread from now on, in order of (tenant, hash), so that those who meet wait for
-- each other in one order. Whoever finds that another was quicker fails as a transaction that lost, and looks anew.
create function place_in_threads(
  p_begun int[], p_ref_tenant int[], p_ref_thread bigint[], p_ref_hash bytea,
  p_tenant int[], p_channel smallint[], p_sequence bigint[], p_thread bigint[], p_party bytea,
  p_content text[], p_link_tenant int[], p_link_thread bigint[], p_link_other bigint[]
) returns table (thread bigint, number bigint) language plpgsql as $$
#variable_conflict use_column
declare
  v_begun bigint[];
  v_threads bigint[];
  v_count int;
begin
  with begun as (insert into thread (tenant) select b.tenant from unnest(p_begun) with ordinality as b(tenant, ord)
    order by b.ord returning id)
  select array_agg(begun.id order by begun.id) into v_begun from begun;

  insert into thread_reference (tenant, hash, thread)
    select r.tenant, substr(p_ref_hash, (r.ord::int - 1) * 16 + 1, 16),
      case when r.thread < 0 then v_begun[-r.thread] else r.thread end
    from unnest(p_ref_tenant, p_ref_thread) with ordinality as r(tenant, thread, ord) order by r.ord
    on conflict do nothing;
  get diagnostics v_count = row_count;
  if v_count <> cardinality(p_ref_tenant) then
    raise exception 'another placed a message of the same conversation' using errcode = '40001';
  end if;

  select array_agg(case when m.thread < 0 then v_begun[-m.thread] else m.thread end order by m.ord) into v_threads
    from unnest(p_thread) with ordinality as m(thread, ord);
  perform from thread t join (select distinct tenant, thread from unnest(p_tenant, v_threads) as m(tenant, thread)) m
    on t.tenant = m.tenant and t.id = m.thread order by t.tenant, t.id for update of t;
  get diagnostics v_count = row_count;
  if v_count <> (select count(distinct m.thread) from unnest(v_threads) as m(thread)) then
    raise exception 'a conversation was forgotten' using errcode = '40001';
  end if;

  with placed as (
    insert into thread_message (tenant, channel, sequence, thread, number, party, content)
    select m.tenant, m.channel, m.sequence, m.thread,
      t.last_number + row_number() over (partition by m.tenant, m.thread order by m.ord),
      substr(p_party, (m.ord::int - 1) * 16 + 1, 16), m.content::json
    from unnest(p_tenant, p_channel, p_sequence, v_threads, p_content) with ordinality
      as m(tenant, channel, sequence, thread, content, ord)
    join thread t on t.tenant = m.tenant and t.id = m.thread
    returning tenant, thread, number
  )
  update thread t set last_number = p.last
    from (select tenant, thread, max(number) as last from placed group by tenant, thread) p
    where t.tenant = p.tenant and t.id = p.thread;

  insert into thread_link (tenant, thread, other)
    select distinct l.tenant, least(l.thread, l.other), greatest(l.thread, l.other)
    from (select tenant, case when thread < 0 then v_begun[-thread] else thread end as thread,
        case when other < 0 then v_begun[-other] else other end as other
      from unnest(p_link_tenant, p_link_thread, p_link_other) as l(tenant, thread, other)) l order by 1, 2, 3
    on conflict do nothing;

  return query select m.thread, m.number
    from unnest(p_tenant, p_channel, p_sequence) with ordinality as i(tenant, channel, sequence, ord)
    cross join lateral (select thread, number from thread_message where tenant = i.tenant and channel = i.channel
      and sequence = i.sequence offset 0) m
    order by i.ord;
end $$;
