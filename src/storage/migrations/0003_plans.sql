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
-- p_chain: 32 bytes a plan, of which those of extra plans mean nothing: their chain is made here, where the hashes are.
create function write_plans(
  p_holder uuid, p_lease_tenant int[], p_lease_channel smallint[], p_lease_term bigint[],
  p_epoch bigint, p_tenant int[], p_channel smallint[], p_number bigint[], p_kind text[],
  p_first bigint[], p_last bigint[], p_runs text[], p_targets text[], p_chain bytea, p_open boolean[],
  p_line_tenant int[], p_line_target int[], p_line_channel smallint[], p_line_number bigint[],
  p_done_tenant int[], p_done_channel smallint[], p_done_number bigint[], p_done_attempt bigint[]
) returns void language plpgsql as $$
declare
  v_extra record;
  v_chains bytea[];
  v_chain bytea;
begin
  perform check_leases(p_holder, p_lease_tenant, p_lease_channel, p_lease_term);

  if cardinality(p_tenant) > 0 then
    if 'extra' = any (p_kind) then
      -- A channel may have several: each goes on from the one before, in the order of their numbers.
      for v_extra in select i.* from unnest(p_tenant, p_channel, p_number, p_kind, p_runs) with ordinality
          as i(tenant, channel, number, kind, runs, ord) where i.kind = 'extra' order by i.tenant, i.channel, i.number loop
        update reader r
          set extra_chain = next_extra_chain(r.extra_chain, r.tenant, r.channel, v_extra.number, v_extra.runs::json)
          where r.tenant = v_extra.tenant and r.channel = v_extra.channel returning extra_chain into v_chain;
        v_chains[v_extra.ord] := v_chain;
      end loop;
    end if;

    insert into plan (tenant, channel, number, epoch, kind, first_sequence, last_sequence, runs, targets, chain, open)
      select i.tenant, i.channel, i.number, p_epoch, i.kind, i.first, i.last, i.runs::json, i.targets::int[],
        coalesce(v_chains[i.ord], substr(p_chain, (i.ord::int - 1) * 32 + 1, 32)), i.open
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

-- What the running hash of a channel's extra plans comes to after this one: over the hash before, the plan's number, and
-- (sequence, sha256) of everything its runs speak of, in their order; a message that is not there any more counts as what
-- retention kept of it, else as zeros. Checked by delivery/chain.ts.
create function next_extra_chain(
  p_before bytea, p_tenant int, p_channel smallint, p_number bigint, p_runs json
) returns bytea language sql stable as $$
  select sha256(p_before || int8send(p_number) || coalesce(string_agg(
    int8send(q.sequence) || coalesce(m.sha256, k.sha256, decode(repeat('00', 32), 'hex')), ''::bytea
    order by r.place, q.sequence), ''))
  from json_array_elements(p_runs) with ordinality as r(run, place)
  cross join generate_series((r.run->>'s')::bigint, (r.run->>'s')::bigint + (r.run->>'n')::bigint - 1) as q(sequence)
  left join lateral (select m.sha256 from message m where m.generation = generation_of(p_tenant, p_channel, q.sequence)
    and m.tenant = p_tenant and m.channel = p_channel and m.sequence = q.sequence) m on true
  left join checkpoint_hash k on k.tenant = p_tenant and k.channel = p_channel and k.sequence = q.sequence
$$;
