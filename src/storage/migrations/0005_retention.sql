-- Moves messages that are still open out of a generation that is about to be dropped into the current one, byte for byte.
-- Answers how many. The caller's transaction keeps the current generation current and the channel's owner from writing.
create function move_messages(p_generation int, p_tenant int, p_channel smallint, p_sequences bigint[]) returns int
language plpgsql as $$
declare
  v_current int;
  v_last bigint;
  v_moved bigint[];
  v_sequence bigint;
begin
  perform pg_advisory_xact_lock_shared(hashtext('waybill generation'));
  select g.id into v_current from generation g where g.sealed_at is null;
  perform from lease l where l.tenant = p_tenant and l.channel = p_channel for update;
  select c.last_sequence into v_last from channel c where c.tenant = p_tenant and c.channel = p_channel;

  with moved as (
    update message m set generation = v_current where m.generation = p_generation and m.tenant = p_tenant
      and m.channel = p_channel and m.sequence = any (p_sequences) returning m.sequence
  ) select array_agg(moved.sequence order by moved.sequence) into v_moved from moved;
  update view v set generation = v_current where v.generation = p_generation and v.tenant = p_tenant
    and v.channel = p_channel and v.sequence = any (v_moved);

  foreach v_sequence in array coalesce(v_moved, '{}') loop
    insert into span (tenant, channel, first_sequence, generation, moved)
      values (p_tenant, p_channel, v_sequence, v_current, true)
      on conflict on constraint span_pkey do update set generation = excluded.generation, moved = true;
    -- What follows lies where it was. After the channel's last message comes what is accepted next, which sees to itself.
    if v_sequence < v_last then
      insert into span (tenant, channel, first_sequence, generation)
        values (p_tenant, p_channel, v_sequence + 1, p_generation) on conflict do nothing;
    end if;
  end loop;
  perform merge_spans(p_tenant, p_channel);
  return coalesce(cardinality(v_moved), 0);
end $$;

-- Of spans beside each other that lie in one generation for the same reason, the first one says it for all.
create function merge_spans(p_tenant int, p_channel smallint) returns void language sql as $$
  delete from span s using (
    select first_sequence, generation, moved, lag(generation) over w as generation_before, lag(moved) over w as moved_before
    from span where tenant = p_tenant and channel = p_channel window w as (order by first_sequence)
  ) b
  where s.tenant = p_tenant and s.channel = p_channel and s.first_sequence = b.first_sequence
    and b.generation = b.generation_before and b.moved = b.moved_before and (b.moved or b.generation = 0)
$$;
