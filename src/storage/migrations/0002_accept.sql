-- The partitions of one generation. Called once for each, before anything is written to it.
create function create_generation(p_id int) returns void language plpgsql as $$
declare
  parent text;
begin
  foreach parent in array array['key', 'message', 'view'] loop
    -- Made apart and attached: CREATE … PARTITION OF would lock out readers of the parent.
    execute format('create table %I (like %I including all)', parent || '_' || p_id, parent);
    -- Rows are added, looked up by their keys, and dropped as a whole. To read and write them once more, only to note that
    -- everybody sees them, made adding others half as dear again or more. Who reads all keys to fill a filter looks at each row
    -- for want of that note. How many rows there are is known closely enough.
    execute format('alter table %I set (autovacuum_vacuum_insert_threshold = -1,
      toast.autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0.5)', parent || '_' || p_id);
    execute format('alter table %I attach partition %I for values in (%s)', parent, parent || '_' || p_id, p_id);
  end loop;
  insert into generation (id) values (p_id);
end $$;

-- Seals the current generation and opens the next, once nothing writes to the current one any more.
-- Answers the new id, or null when p_current is no longer current (another process was first).
create function rotate_generation(p_current int) returns int language plpgsql as $$
begin
  perform pg_advisory_xact_lock(hashtext('waybill generation'));
  if not exists (select from generation where id = p_current and sealed_at is null) then
    return null;
  end if;
  -- Nothing in it arrived later than now. The exact time would be a scan of all content, while every commit waits.
  update generation set sealed_at = clock_timestamp(), last_arrival = clock_timestamp() where id = p_current;
  perform create_generation(p_current + 1);
  return p_current + 1;
end $$;

-- Decides one batch and makes it durable, in one transaction: see channel/accept.ts for the order of work.
--
-- Rows come as parallel arrays; fingerprints (16 bytes a row), digests (24), hashes (32) and raw bytes each as
-- one bytea, which is cut up without being copied first. A key may come several times within a batch only
-- where it is stored already and looked up for each of its rows; otherwise key's primary key refuses the batch.
-- p_look_up_row/_generation: pairs the filters could not rule out. p_generation: the generation that was current
-- for the filters; when another has been opened since, every row is looked up from there on.
-- p_repeats: arrivals that are exactly like a row and came with it; what becomes of the row is counted for them too. Empty where there are none.
-- p_repeated: the answer to this batch's commit was lost; what it stored keeps its verdicts and is not counted again.
--
-- Answers one row per channel with row_number null: sequence is the number before the batch's first of that
-- channel; the batch's rows that have no row of their own are numbered from there in their order.
-- And one row for each other arrival, with its verdict; for duplicates and conflicts channel and sequence are the original's.
create function accept(
  p_process uuid, p_lane int, p_batch bigint, p_repeated boolean, p_generation int,
  p_channel_tenant int[], p_channel smallint[],
  p_tenant int[], p_row_channel smallint[], p_strict boolean[], p_expired boolean[],
  p_fingerprint bytea, p_digest bytea,
  p_source int[], p_kind text[], p_account text[], p_type text[], p_external_id text[], p_value text[],
  p_event_time timestamptz[], p_arrived_at timestamptz[], p_peer text[], p_meta text[],
  p_sha256 bytea, p_raw bytea, p_offset int[], p_length int[],
  p_look_up_row int[], p_look_up_generation int[], p_repeats int[]
) returns table (row_number int, verdict text, tenant int, channel smallint, sequence bigint, differs boolean, quarantine bigint)
language plpgsql as $$
#variable_conflict use_column
declare
  v_generation int;
  v_done boolean := false;
  -- Rows that are no new message, and of those that are known what is known.
  v_known int[] := '{}';
  v_known_row int;
  v_known_channel smallint[];
  v_known_sequence bigint[];
  v_known_differs boolean[];
  v_known_verdict text[];
  v_fresh boolean[] := array_fill(true, array[cardinality(p_tenant)]);
  v_row record;
  v_quarantine bigint;
  v_numbering boolean := false;
begin
  perform pg_advisory_xact_lock_shared(hashtext('waybill generation'));
  select g.id into v_generation from generation g where g.sealed_at is null;

  perform from channel c
    join unnest(p_channel_tenant, p_channel) as w(tenant, channel) on c.tenant = w.tenant and c.channel = w.channel
    order by c.tenant, c.channel for update of c;

  if p_repeated then
    select coalesce(p.last_batches[p_lane] = p_batch, false) into v_done from process p where p.id = p_process;
  end if;

  if p_repeated or v_generation <> p_generation then
    select array_agg(r.row), array_agg(r.generation) into p_look_up_row, p_look_up_generation from (
      select unnest(p_look_up_row) as row, unnest(p_look_up_generation) as generation
      union
      select n.row, g.id from generate_subscripts(p_tenant, 1) as n(row), generation g
        where g.keys_dropped_at is null and (p_repeated or g.id >= p_generation)
    ) r;
  end if;

  if cardinality(p_look_up_row) > 0 then
    select coalesce(array_agg(f.row), '{}'), array_agg(f.channel), array_agg(f.sequence), array_agg(f.differs),
        array_agg(f.verdict)
      into v_known, v_known_channel, v_known_sequence, v_known_differs, v_known_verdict
    from (
      select l.row, k.channel, k.sequence, k.digest <> substr(p_digest, (l.row - 1) * 24 + 1, 24) as differs,
        case
          when p_repeated and (select m.batch = p_batch from message m where m.generation = k.generation
            and m.tenant = k.tenant and m.channel = k.channel and m.sequence = k.sequence) then 'sequenced'
          when k.digest <> substr(p_digest, (l.row - 1) * 24 + 1, 24)
            and (p_strict[l.row] or substr(k.digest, 17) <> substr(p_digest, (l.row - 1) * 24 + 17, 8)) then 'conflict'
          else 'duplicate'
        end as verdict
      from unnest(p_look_up_row, p_look_up_generation) as l(row, generation)
      join key k on k.generation = l.generation and k.tenant = p_tenant[l.row]
        and k.fingerprint = substr(p_fingerprint, (l.row - 1) * 16 + 1, 16)
      where not p_expired[l.row]
      order by l.row) f;

    return query
      select f.row, f.verdict, p_tenant[f.row], f.channel, f.sequence, f.differs, null::bigint
      from unnest(v_known, v_known_channel, v_known_sequence, v_known_differs, v_known_verdict)
        as f(row, channel, sequence, differs, verdict)
      where f.verdict <> 'conflict';

    if 'conflict' = any (v_known_verdict) then
      perform lock_tenants(p_channel_tenant);
      v_numbering := true;
      for v_row in
        select f.row, f.channel, f.sequence
        from unnest(v_known, v_known_channel, v_known_sequence, v_known_verdict) as f(row, channel, sequence, verdict)
        where f.verdict = 'conflict' order by f.row
      loop
        row_number := v_row.row;
        verdict := 'conflict';
        tenant := p_tenant[v_row.row];
        channel := v_row.channel;
        sequence := v_row.sequence;
        differs := true;
        insert into quarantine as q (tenant, number, cause, of_channel, of_sequence, source, kind, account, type,
            external_id, value, event_time, arrived_at, peer, meta, fingerprint, digest, sha256, raw, last_at, count)
          values (tenant, -p_batch - v_row.row, 'conflict', channel, sequence, p_source[v_row.row], p_kind[v_row.row],
            p_account[v_row.row], p_type[v_row.row], p_external_id[v_row.row], p_value[v_row.row],
            p_event_time[v_row.row], p_arrived_at[v_row.row], p_peer[v_row.row], p_meta[v_row.row]::json,
            substr(p_fingerprint, (v_row.row - 1) * 16 + 1, 16), substr(p_digest, (v_row.row - 1) * 24 + 1, 24),
            substr(p_sha256, (v_row.row - 1) * 32 + 1, 32),
            substr(p_raw, p_offset[v_row.row] + 1, p_length[v_row.row]), p_arrived_at[v_row.row],
            1 + coalesce(p_repeats[v_row.row], 0))
          on conflict on constraint quarantine_tenant_cause_fingerprint_digest_key
            do update set count = q.count + case when v_done then 0 else excluded.count end, last_at = excluded.last_at
          returning q.number into v_quarantine;
        quarantine := number_quarantine(tenant, v_quarantine);
        return next;
      end loop;
    end if;
  end if;

  if true = any (p_expired) then
    for v_row in select n.row from generate_subscripts(p_expired, 1) as n(row) where p_expired[n.row] loop
      v_known := v_known || v_row.row;
      row_number := v_row.row;
      verdict := 'expired';
      tenant := p_tenant[v_row.row];
      channel := p_row_channel[v_row.row];
      sequence := null;
      differs := false;
      if not v_numbering then
        perform lock_tenants(p_channel_tenant);
        v_numbering := true;
      end if;
      insert into quarantine as q (tenant, number, cause, source, kind, account, type,
          external_id, value, event_time, arrived_at, peer, meta, fingerprint, digest, sha256, raw, last_at)
        values (tenant, -p_batch - v_row.row, 'expired', p_source[v_row.row], p_kind[v_row.row],
          p_account[v_row.row], p_type[v_row.row], p_external_id[v_row.row], p_value[v_row.row],
          p_event_time[v_row.row], p_arrived_at[v_row.row], p_peer[v_row.row], p_meta[v_row.row]::json,
          substr(p_fingerprint, (v_row.row - 1) * 16 + 1, 16), substr(p_digest, (v_row.row - 1) * 24 + 1, 24),
          substr(p_sha256, (v_row.row - 1) * 32 + 1, 32),
          substr(p_raw, p_offset[v_row.row] + 1, p_length[v_row.row]), p_arrived_at[v_row.row])
        on conflict on constraint quarantine_tenant_cause_fingerprint_digest_key
          do update set count = q.count + case when v_done then 0 else 1 end, last_at = excluded.last_at
        returning q.number into v_quarantine;
      quarantine := number_quarantine(tenant, v_quarantine);
      return next;
    end loop;
  end if;

  if not v_done and cardinality(v_known) > 0 then
    -- Counted where the arrival would have gone, by what was said of it.
    update channel c set
      duplicates = c.duplicates + t.duplicates, conflicts = c.conflicts + t.conflicts, expired = c.expired + t.expired
    from (
      select p_tenant[k.row] as tenant, p_row_channel[k.row] as channel,
        coalesce(sum(1 + coalesce(p_repeats[k.row], 0)) filter (where not p_expired[k.row] and k.verdict <> 'conflict'), 0) as duplicates,
        coalesce(sum(1 + coalesce(p_repeats[k.row], 0)) filter (where k.verdict = 'conflict'), 0) as conflicts,
        count(*) filter (where p_expired[k.row]) as expired
      -- What expired was added without a verdict.
      from unnest(v_known, v_known_verdict) as k(row, verdict)
      group by 1, 2
    ) t where c.tenant = t.tenant and c.channel = t.channel;
  end if;

  return query
    select null::int, null::text, c.tenant, c.channel, c.last_sequence, null::boolean, null::bigint
    from channel c
    join unnest(p_channel_tenant, p_channel) as w(tenant, channel) on c.tenant = w.tenant and c.channel = w.channel;

  if cardinality(v_known) = cardinality(p_tenant) then
    update process p set last_batches[p_lane] = p_batch where p.id = p_process;
    return;
  end if;

  insert into span (tenant, channel, first_sequence, generation)
    select c.tenant, c.channel, c.last_sequence + 1, v_generation
    from channel c
    join unnest(p_channel_tenant, p_channel) as w(tenant, channel) on c.tenant = w.tenant and c.channel = w.channel
    where c.generation <> v_generation
    on conflict on constraint span_pkey do update set generation = excluded.generation;

  -- Not by a join with what is known: of arrays the planner knows no length, and would compare each with each.
  foreach v_known_row in array v_known loop
    v_fresh[v_known_row] := false;
  end loop;

  with fresh as materialized (
    select i.*,
      c.last_sequence + row_number() over (partition by i.tenant, i.channel order by i.row) as sequence
    -- In from, each array would be copied whole into a store of its own first.
    from (select generate_subscripts(p_tenant, 1) as row, unnest(p_tenant) as tenant, unnest(p_row_channel) as channel,
        unnest(p_source) as source, unnest(p_kind) as kind, unnest(p_account) as account, unnest(p_type) as type,
        unnest(p_external_id) as external_id, unnest(p_value) as value, unnest(p_event_time) as event_time,
        unnest(p_arrived_at) as arrived_at, unnest(p_peer) as peer, unnest(p_meta) as meta,
        unnest(p_offset) as at, unnest(p_length) as length, unnest(p_repeats) as repeats, unnest(v_fresh) as fresh) i
    join channel c on c.tenant = i.tenant and c.channel = i.channel
    where i.fresh
  ), keys as (
    insert into key (generation, tenant, fingerprint, channel, sequence, digest)
    select v_generation, f.tenant, substr(p_fingerprint, (f.row - 1) * 16 + 1, 16), f.channel, f.sequence,
      substr(p_digest, (f.row - 1) * 24 + 1, 24)
    from fresh f order by 2, 3
  ), messages as (
    insert into message (generation, tenant, channel, sequence, source, kind, account, type, external_id, value,
      event_time, arrived_at, peer, meta, sha256, batch, raw)
    select v_generation, f.tenant, f.channel, f.sequence, f.source, f.kind, f.account, f.type, f.external_id, f.value,
      f.event_time, f.arrived_at, f.peer, f.meta::json, substr(p_sha256, (f.row - 1) * 32 + 1, 32), p_batch,
      substr(p_raw, f.at + 1, f.length)
    from fresh f
  )
  update channel c set last_sequence = t.last, generation = v_generation, duplicates = c.duplicates + t.repeats
  from (select f.tenant, f.channel, max(f.sequence) as last, coalesce(sum(f.repeats), 0) as repeats
    from fresh f group by 1, 2) t
  where c.tenant = t.tenant and c.channel = t.channel;

  update process p set last_batches[p_lane] = p_batch where p.id = p_process;
end $$;

-- Before the first entry of the quarantine is written: batches that share tenants take turns, in one order.
create function lock_tenants(p_tenants int[]) returns void language plpgsql as $$
begin
  perform from tenant t where t.id = any (p_tenants) order by t.id for no key update;
end $$;

-- A new entry of the quarantine has a negative number until it is given its own; an old one keeps the one it has.
create function number_quarantine(p_tenant int, p_number bigint) returns bigint language plpgsql as $$
declare
  v_number bigint;
begin
  if p_number > 0 then
    return p_number;
  end if;
  update tenant set quarantined = quarantined + 1 where id = p_tenant returning quarantined into v_number;
  update quarantine set number = v_number where tenant = p_tenant and number = p_number;
  return v_number;
end $$;

-- Keeps what no message could be made of, in one transaction: the bytes of all rows as one bytea, as for accept.
-- The same content again only raises the count of its entry.
create function quarantine_undecodable(
  p_tenant int, p_source int[], p_kind text[], p_account text[], p_type text[], p_external_id text[],
  p_arrived_at timestamptz[], p_peer text[], p_meta text[], p_reason text[],
  p_fingerprint bytea, p_digest bytea, p_raw bytea, p_offset int[], p_length int[]
) returns void language plpgsql as $$
declare
  v_quarantine bigint;
begin
  perform lock_tenants(array[p_tenant]);
  for v_row in 1 .. cardinality(p_source) loop
    insert into quarantine as q (tenant, number, cause, reason, source, kind, account, type, external_id,
        arrived_at, peer, meta, fingerprint, digest, sha256, raw, last_at)
      -- Numbered below; no other transaction of the tenant sees this number.
      values (p_tenant, -v_row, 'undecodable', p_reason[v_row], p_source[v_row], p_kind[v_row], p_account[v_row],
        p_type[v_row], p_external_id[v_row], p_arrived_at[v_row], p_peer[v_row], p_meta[v_row]::json,
        substr(p_fingerprint, (v_row - 1) * 16 + 1, 16), substr(p_digest, (v_row - 1) * 24 + 1, 24),
        sha256(substr(p_raw, p_offset[v_row] + 1, p_length[v_row])),
        substr(p_raw, p_offset[v_row] + 1, p_length[v_row]), p_arrived_at[v_row])
      on conflict on constraint quarantine_tenant_cause_fingerprint_digest_key
        do update set count = q.count + 1, last_at = excluded.last_at
      returning q.number into v_quarantine;
    perform number_quarantine(p_tenant, v_quarantine);
  end loop;
end $$;

select create_generation(1);
