-- What was taken as a duplicate by a filter's word alone. See docs/decisions/0029-maybe.md.

-- Kept whole until it has been looked up; then it is a message, an entry of the quarantine, or a duplicate and gone.
create table unseen (
  tenant int not null references tenant,
  -- As in key.
  fingerprint bytea not null,
  digest bytea not null,
  -- In the order in which they were kept.
  number bigint generated always as identity,
  -- What the fingerprint is made from.
  identity bytea not null,
  -- Other content under the same identity is a conflict.
  strict boolean not null,
  source int not null,
  kind text not null,
  account text not null,
  type text,
  external_id text,
  value text not null,
  event_time timestamptz,
  arrived_at timestamptz not null,
  peer text not null,
  meta json,
  sha256 bytea not null,
  raw bytea not null,
  -- How often it came.
  count int not null,
  -- The group commit that counted it last: repeated after a lost answer, it is not counted again.
  batch bigint not null,
  primary key (tenant, fingerprint, digest)
);
alter table unseen alter column raw set storage external;
create index unseen_number on unseen (number);
create index unseen_account on unseen (tenant, account);

-- What became of those that have been looked up.
create table unseen_count (
  tenant int not null references tenant,
  source int not null,
  checked bigint not null,
  -- The filter was wrong: so many were sequenced after all, and so much were they worth, in absolute values.
  originals bigint not null,
  original_value numeric not null,
  conflicts bigint not null,
  primary key (tenant, source)
) with (fillfactor = 40);

-- Keeps rows of a batch; arrays and packed bytes as for accept. Sorted, so that two that keep the same wait and don't block each other.
create function keep_unseen(
  p_batch bigint, p_tenant int[], p_strict boolean[], p_fingerprint bytea, p_digest bytea,
  p_identity bytea, p_identity_offset int[], p_identity_length int[],
  p_source int[], p_kind text[], p_account text[], p_type text[], p_external_id text[], p_value text[],
  p_event_time timestamptz[], p_arrived_at timestamptz[], p_peer text[], p_meta text[],
  p_sha256 bytea, p_raw bytea, p_offset int[], p_length int[]
) returns bigint language plpgsql as $$
begin
  insert into unseen as u (tenant, fingerprint, digest, identity, strict, source, kind, account, type, external_id, value,
      event_time, arrived_at, peer, meta, sha256, raw, count, batch)
    select distinct on (k.tenant, k.fingerprint, k.digest) k.tenant, k.fingerprint, k.digest,
      substr(p_identity, k.identity_at + 1, k.identity_length), k.strict, k.source, k.kind, k.account, k.type, k.external_id,
      k.value, k.event_time, k.arrived_at, k.peer, k.meta::json, substr(p_sha256, (k.ord - 1) * 32 + 1, 32),
      substr(p_raw, k.at + 1, k.length), count(*) over (partition by k.tenant, k.fingerprint, k.digest), p_batch
    from (
      select i.*, i.place::int as ord, substr(p_fingerprint, (i.place::int - 1) * 16 + 1, 16) as fingerprint,
        substr(p_digest, (i.place::int - 1) * 24 + 1, 24) as digest
      from unnest(p_tenant, p_strict, p_identity_offset, p_identity_length, p_source, p_kind, p_account, p_type, p_external_id,
          p_value, p_event_time, p_arrived_at, p_peer, p_meta, p_offset, p_length) with ordinality
        as i(tenant, strict, identity_at, identity_length, source, kind, account, type, external_id,
          value, event_time, arrived_at, peer, meta, at, length, place)
    ) k
    order by k.tenant, k.fingerprint, k.digest, k.ord
  on conflict (tenant, fingerprint, digest) do update
    set count = u.count + case when u.batch = excluded.batch then 0 else excluded.count end, batch = excluded.batch;
  return p_batch;
end $$;
