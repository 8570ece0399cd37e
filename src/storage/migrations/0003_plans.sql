-- Raised when a process writes for a channel whose lease it no longer holds. The program knows it by its SQLSTATE.
create function check_leases(p_holder uuid, p_tenant int[], p_channel smallint[], p_term bigint[]) returns void
language plpgsql as $$
declare
  v_held int;
begin
  -- Shared: owners of other channels and other writes of the same owner go on; a takeover waits, or made us wait.
  perform from lease l join unnest(p_tenant, p_channel, p_term) as w(tenant, channel, term)
    on l.tenant = w.tenant and l.channel = w.channel and l.term = w.term
    where l.holder = p_holder
    order by l.tenant, l.channel for share of l;
  get diagnostics v_held = row_count;
  if v_held <> cardinality(p_tenant) then
    raise exception 'a lease has been taken over' using errcode = 'WB001';
  end if;
end $$;

-- Writes a batch of plans (at most one stream plan a channel), moves readers and lines on, and closes earlier plans.
create function write_plans(
  p_holder uuid, p_lease_tenant int[], p_lease_channel smallint[], p_lease_term bigint[],
  p_epoch bigint, p_tenant int[], p_channel smallint[], p_number bigint[], p_kind text[],
  p_first bigint[], p_last bigint[], p_runs text[], p_targets text[], p_chain bytea, p_open boolean[],
  p_line_tenant int[], p_line_target int[], p_line_channel smallint[], p_line_number bigint[],
  p_done_tenant int[], p_done_channel smallint[], p_done_number bigint[], p_done_attempt bigint[]
) returns void language plpgsql as $$
begin
  perform check_leases(p_holder, p_lease_tenant, p_lease_channel, p_lease_term);

  if cardinality(p_tenant) > 0 then
    insert into plan (tenant, channel, number, epoch, kind, first_sequence, last_sequence, runs, targets, chain, open)
      select i.tenant, i.channel, i.number, p_epoch, i.kind, i.first, i.last, i.runs::json, i.targets::int[],
        case when i.kind = 'stream' then substr(p_chain, (i.ord::int - 1) * 32 + 1, 32) end, i.open
      from unnest(p_tenant, p_channel, p_number, p_kind, p_first, p_last, p_runs, p_targets, p_open) with ordinality
        as i(tenant, channel, number, kind, first, last, runs, targets, open, ord);

    -- A channel may have several plans here, and UPDATE takes only one row for each: together they are one.
    update reader r set last_plan = greatest(r.last_plan, i.last_plan),
        planned = coalesce(i.planned, r.planned), chain = coalesce(i.chain, r.chain)
      from (
        select p.tenant, p.channel, max(p.number) as last_plan, max(p.last) filter (where p.kind = 'stream') as planned,
          (array_agg(substr(p_chain, (p.ord::int - 1) * 32 + 1, 32)) filter (where p.kind = 'stream'))[1] as chain
        from unnest(p_tenant, p_channel, p_number, p_kind, p_last) with ordinality
          as p(tenant, channel, number, kind, last, ord)
        group by p.tenant, p.channel
      ) i
      where r.tenant = i.tenant and r.channel = i.channel;

    insert into line (tenant, target, channel, epoch, last_number)
      select i.tenant, i.target, i.channel, p_epoch, i.number
      from unnest(p_line_tenant, p_line_target, p_line_channel, p_line_number) as i(tenant, target, channel, number)
      on conflict (tenant, target, channel) do update set epoch = excluded.epoch, last_number = excluded.last_number;
  end if;

  -- Batches that went through leave no history.
  if cardinality(p_done_attempt) > 0 then
    delete from attempt a where a.id = any (p_done_attempt);
  end if;

  if cardinality(p_done_tenant) > 0 then
    update plan p set open = false, closed_at = clock_timestamp()
      from unnest(p_done_tenant, p_done_channel, p_done_number) as d(tenant, channel, number)
      where p.tenant = d.tenant and p.channel = d.channel and p.number = d.number;
  end if;
end $$;

-- The generation a sequence lies in: one probe.
create function generation_of(p_tenant int, p_channel smallint, p_sequence bigint) returns int language sql stable as $$
  select s.generation from span s
  where s.tenant = p_tenant and s.channel = p_channel and s.first_sequence <= p_sequence
  order by s.first_sequence desc limit 1
$$;
