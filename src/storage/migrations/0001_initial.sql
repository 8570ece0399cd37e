-- Everything one installation keeps. Every table but the installation's own starts with its tenant.
-- Words are those of the design. Times are timestamptz; sequences, numbers and terms are bigint.

create table installation (
  singleton boolean primary key default true check (singleton),
  -- Also in the broker's topology, so that two installations on one broker notice each other.
  id uuid not null,
  -- Raised by a restore; part of every number that leaves the house.
  epoch bigint not null,
  -- Keys every fingerprint: a sender who can't read it can't make two of them collide. 32 bytes.
  fingerprint_secret bytea not null,
  -- Ed25519, PKCS 8 in DER: signs what retention leaves behind of a channel's running hashes.
  signing_key bytea not null,
  created_at timestamptz not null default now()
);

create table tenant (
  id int generated always as identity primary key,
  name text not null unique check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  channels smallint not null default 16 check (channels between 1 and 1024),
  -- The last n given to a q-<n>.
  quarantined bigint not null default 0,
  created_at timestamptz not null default now()
);

create table source (
  tenant int not null references tenant,
  id int generated always as identity,
  name text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  kind text not null check (kind in ('mail', 'webhook', 'events', 'amqp')),
  definition jsonb not null,
  managed_by text not null check (managed_by in ('file', 'api')),
  version int not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- Kept after removal: messages refer to it, and a new one of the name goes on with its id.
  removed_at timestamptz,
  primary key (tenant, id),
  unique (tenant, name)
);

create table target (
  tenant int not null references tenant,
  id int generated always as identity,
  name text not null check (name ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  kind text not null check (kind in ('queue', 'pull', 'webhook', 'email')),
  definition jsonb not null,
  managed_by text not null check (managed_by in ('file', 'api')),
  version int not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- Kept after removal, so that one re-created under its name goes on with its delivery numbers.
  removed_at timestamptz,
  -- A paused target gets nothing; its deliveries wait. by is 'waybill' when an answer of the target paused it.
  paused_at timestamptz,
  paused_by text,
  paused_code text,
  paused_reason text,
  -- When it last took something: tells "this delivery is refused" from "the target is gone".
  last_taken_at timestamptz,
  -- When a pause last ended: what waited meanwhile starts its schedule anew.
  resumed_at timestamptz,
  primary key (tenant, id),
  unique (tenant, name)
);

create table rule_set (
  tenant int not null references tenant,
  version int not null,
  -- SHA-256 of the text, hex.
  hash text not null,
  text text not null,
  managed_by text not null check (managed_by in ('file', 'api')),
  active boolean not null default false,
  who text not null,
  why text,
  created_at timestamptz not null default now(),
  primary key (tenant, version)
);
create unique index rule_set_active on rule_set (tenant) where active;

-- One clock for keys and content: both are partitioned by generation, so that retention drops whole tables.
create table generation (
  id int primary key,
  -- Names the generation's filter wherever that is cached.
  uid uuid not null unique default gen_random_uuid(),
  opened_at timestamptz not null default now(),
  -- From here on nothing writes to it.
  sealed_at timestamptz,
  last_arrival timestamptz,
  keys bigint,
  keys_dropped_at timestamptz,
  content_dropped_at timestamptz
);
create unique index generation_current on generation ((true)) where sealed_at is null;

-- The filter of a sealed generation, in pieces of at most 1 MiB. checksum is the SHA-256 of all pieces together.
create table filter (
  generation uuid primary key,
  bits bigint not null,
  hashes int not null,
  keys bigint not null,
  checksum bytea not null
);
create table filter_piece (
  generation uuid not null references filter on delete cascade,
  piece int not null,
  bytes bytea not null,
  primary key (generation, piece)
);

create table key (
  generation int not null,
  tenant int not null,
  -- 16 bytes.
  fingerprint bytea not null,
  channel smallint not null,
  sequence bigint not null,
  -- 16 bytes of the content in canonical form, 8 of the account.
  digest bytea not null,
  primary key (generation, tenant, fingerprint)
) partition by list (generation);

create table message (
  generation int not null,
  tenant int not null,
  channel smallint not null,
  sequence bigint not null,
  source int not null,
  kind text not null,
  account text not null,
  type text,
  external_id text,
  value text,
  event_time timestamptz,
  arrived_at timestamptz not null,
  peer text not null,
  meta json,
  sha256 bytea not null,
  -- The group commit it came by; tells a batch that is repeated after a lost answer which rows are its own.
  batch bigint not null,
  raw bytea not null,
  -- Since when raw is empty and the account a pseudonym, because a person had its account erased.
  erased_at timestamptz,
  primary key (generation, tenant, channel, sequence)
) partition by list (generation);
-- Attachments don't get smaller, and trying takes a third of what storing a mail of 30 kB costs.
alter table message alter column raw set storage external;


-- What a rung made of a mail. Events and webhooks are read from their raw bytes.
create table view (
  generation int not null,
  tenant int not null,
  channel smallint not null,
  sequence bigint not null,
  rung smallint not null,
  body json not null,
  primary key (generation, tenant, channel, sequence)
) partition by list (generation);

create table channel (
  tenant int not null references tenant,
  channel smallint not null,
  last_sequence bigint not null default 0,
  -- The generation its last message went to; a change starts a new span.
  generation int not null default 0,
  duplicates bigint not null default 0,
  conflicts bigint not null default 0,
  expired bigint not null default 0,
  primary key (tenant, channel)
) with (fillfactor = 40);

-- Where each channel's numbers lie: sequences from first_sequence up to the next span's are in generation.
-- Generation 0 holds nothing: retention has dropped them.
create table span (
  tenant int not null,
  channel smallint not null,
  first_sequence bigint not null,
  generation int not null,
  -- Still open when their own generation was dropped, and moved on to this one.
  moved boolean not null default false,
  primary key (tenant, channel, first_sequence)
);
create index span_generation on span (generation, tenant, channel);

-- A running Waybill process. Observers judge it by whether beat moves, on their own clocks.
create table process (
  id uuid primary key,
  name text not null,
  roles text[] not null,
  started_at timestamptz not null default now(),
  beat bigint not null default 0,
  beat_at timestamptz not null default now(),
  -- The last group commit of it that took place, in each of its lanes.
  last_batches bigint[] not null default '{}',
  -- How far its machine's clock was ahead of the database's when it last looked.
  clock_offset_ms bigint not null default 0
) with (fillfactor = 40);

-- How the processes that consume a queue are getting on with it.
create table source_health (
  tenant int not null,
  source int not null,
  process uuid not null references process on delete cascade,
  state text not null check (state in ('consuming', 'standing_by', 'down')),
  -- A sentence, where it is not consuming.
  reason text,
  since timestamptz not null default now(),
  primary key (tenant, source, process),
  foreign key (tenant, source) references source on delete cascade
);

-- Who reads a channel onward. A takeover raises term; every transaction of an owner locks its row FOR SHARE.
create table lease (
  tenant int not null,
  channel smallint not null,
  holder uuid,
  term bigint not null default 0,
  taken_at timestamptz,
  primary key (tenant, channel)
);

-- How far a channel has been read. Written by its owner alone.
create table reader (
  tenant int not null,
  channel smallint not null,
  -- Every sequence up to here is in a plan.
  planned bigint not null default 0,
  last_plan bigint not null default 0,
  -- Running hash over (sequence, sha256) of all planned sequences, 32 bytes.
  chain bytea not null default '\x0000000000000000000000000000000000000000000000000000000000000000',
  -- The same over what its extra plans speak of, and their numbers.
  extra_chain bytea not null default '\x0000000000000000000000000000000000000000000000000000000000000000',
  primary key (tenant, channel)
) with (fillfactor = 40);

-- What is left of a channel's hashes where retention has dropped messages: from here its plans can be checked onward.
create table checkpoint (
  tenant int not null,
  channel smallint not null,
  -- The generation that was dropped last. Messages up to `through` are gone, but for those that were moved.
  generation int not null,
  through bigint not null,
  -- The last plan of the stream that speaks of nothing beyond them: its number, its last sequence, its running hash.
  plan bigint not null,
  planned bigint not null,
  chain bytea not null,
  -- Of the extra plans up to that number.
  extra_chain bytea not null,
  -- Running hash over all plans up to that number, as they stood (delivery/chain.ts).
  plans bytea not null,
  -- SHA-256 over the channel's rows of checkpoint_hash.
  hashes bytea not null,
  -- What was found wrong before the messages were dropped: sentences, with their codes.
  findings json not null,
  made_at timestamptz not null,
  -- Ed25519 by the installation's key, over all of these (delivery/checkpoint.ts).
  signature bytea not null,
  primary key (tenant, channel)
);

-- Hashes of single messages beside a checkpoint: of those that were moved on (they are stored), and of those that are
-- gone and that a later plan speaks of.
create table checkpoint_hash (
  tenant int not null,
  channel smallint not null,
  sequence bigint not null,
  sha256 bytea not null,
  stored boolean not null,
  primary key (tenant, channel, sequence)
);

-- The last delivery number given per target and channel, in this epoch.
create table line (
  tenant int not null,
  target int not null,
  channel smallint not null,
  epoch bigint not null,
  last_number bigint not null,
  primary key (tenant, target, channel)
) with (fillfactor = 40);

create table plan (
  tenant int not null,
  channel smallint not null,
  number bigint not null,
  epoch bigint not null,
  -- stream: the next sequences of the channel. extra: decisions of people, parked messages that are ready, replays.
  kind text not null check (kind in ('stream', 'extra')),
  first_sequence bigint not null,
  last_sequence bigint not null,
  -- Array of runs; shape in delivery/plan.ts.
  runs json not null,
  -- Targets (ids) any run names, for lists by target.
  targets int[] not null,
  -- The running hash of its kind after it.
  chain bytea not null,
  -- Deliveries sent at once whose outcome is not written yet.
  open boolean not null,
  planned_at timestamptz not null default clock_timestamp(),
  closed_at timestamptz,
  primary key (tenant, channel, number)
) with (fillfactor = 80);
create index plan_open on plan (tenant, channel) where open;
create index plan_stream on plan (tenant, channel, first_sequence) where kind = 'stream';
create index plan_extra on plan (tenant, channel, first_sequence, last_sequence) where kind = 'extra';

-- Every delivery that is or was not simply sent at once and confirmed; the others live in their plan alone.
create table delivery (
  tenant int not null,
  target int not null,
  channel smallint not null,
  epoch bigint not null,
  number bigint not null,
  sequence bigint not null,
  plan bigint not null,
  rung smallint not null,
  -- Who decided; shape in delivery/plan.ts, Decider.
  decision json not null,
  late boolean not null default false,
  replay boolean not null default false,
  state text not null check (state in ('pending', 'delivered', 'failed', 'cancelled')),
  -- Its number carries no message (failed, cancelled): a notice of that is due, taken, or refused for good.
  void text check (void in ('due', 'taken', 'refused')),
  attempts int not null default 0,
  first_attempt_at timestamptz,
  next_at timestamptz not null default now(),
  settled_at timestamptz,
  code text,
  reason text,
  -- Of a pull: who holds it and until when; shape in storage/pull.ts.
  leased_by text,
  leased_until timestamptz,
  created_at timestamptz not null default now(),
  primary key (tenant, target, channel, epoch, number)
);
create index delivery_due on delivery (tenant, target, next_at) where state = 'pending' or void = 'due';
-- Channel before target: an owner that takes a channel over counts what waits there for each target.
create index delivery_line on delivery (tenant, channel, target, epoch, number) where state = 'pending' or void = 'due';
-- What pullers hold: small, and asked before a channel is given to another.
create index delivery_leased on delivery (tenant, target, channel, leased_until) where leased_until is not null;
create index delivery_message on delivery (tenant, channel, sequence);
create index delivery_newest on delivery (tenant, created_at);

create table delivery_attempt (
  tenant int not null,
  target int not null,
  channel smallint not null,
  epoch bigint not null,
  number bigint not null,
  attempt int not null,
  what text not null check (what in ('message', 'void')),
  started_at timestamptz not null,
  took_ms int not null,
  result text not null check (result in ('delivered', 'retry', 'refused', 'pause', 'interrupted')),
  code text,
  reason text,
  -- At most 2 kB of what the target answered.
  answer text,
  primary key (tenant, target, channel, epoch, number, what, attempt)
);

-- Messages that are not simply "planned and routed by rules": one row says where they stand.
create table standing (
  tenant int not null,
  channel smallint not null,
  sequence bigint not null,
  state text not null check (state in ('waiting', 'routed', 'closed', 'parked', 'quarantined')),
  -- Version of the last decision.
  version int not null,
  since timestamptz not null default now(),
  snoozed_until timestamptz,
  reason text,
  -- A parked or requeued message: the rung to try it on next, the leaves that are blamed for earlier tries, the children
  -- that died of it, and when.
  rung smallint,
  blamed int[] not null default '{}',
  deaths smallint not null default 0,
  -- A person chose the rung: it is tried there whatever became of its likes.
  by_hand boolean not null default false,
  ready_at timestamptz,
  primary key (tenant, channel, sequence)
);
create index standing_waiting on standing (tenant, since, channel, sequence) where state = 'waiting';
create index standing_parked on standing (tenant, channel, ready_at) where state = 'parked';
-- What retention must not drop.
create index standing_open on standing (tenant, channel, sequence) where state in ('waiting', 'parked', 'quarantined');

-- What people decided. Version 1 of every message is the rules' and lives in its plan.
create table decision (
  tenant int not null,
  channel smallint not null,
  sequence bigint not null,
  version int not null,
  who text not null,
  action text not null check (action in ('assign', 'unassign', 'close', 'snooze', 'reopen', 'note', 'replay')),
  targets int[] not null default '{}',
  reason text,
  snoozed_until timestamptz,
  decided_at timestamptz not null default now(),
  hold_until timestamptz not null default now(),
  -- The plan that carried it out; null while it waits for the owner (assign, unassign, replay) or needs none (0).
  plan bigint,
  idempotency_key text,
  primary key (tenant, channel, sequence, version)
);
create index decision_due on decision (tenant, channel, hold_until) where plan is null;
create unique index decision_once on decision (tenant, idempotency_key) where idempotency_key is not null;

-- Tries of content. Durable before the try; ended after it. One row for a batch of events, which goes when it is done.
create table attempt (
  id bigint generated always as identity primary key,
  tenant int not null,
  channel smallint not null,
  first_sequence bigint not null,
  last_sequence bigint not null,
  rung smallint not null,
  stage text not null,
  try smallint not null,
  process uuid not null,
  child text,
  started_at timestamptz not null default now(),
  -- Leaves that are left out for what they did before.
  blamed int[] not null default '{}',
  -- Of a mail: what of it can kill a parser, and when the try is ended.
  crash_hash bytea,
  deadline timestamptz,
  ended_at timestamptz,
  -- not_tried: its like failed while it waited for a child.
  outcome text check (outcome in ('processed', 'failed', 'interrupted', 'not_tried')),
  reason text
);
create index attempt_message on attempt (tenant, channel, first_sequence);
create index attempt_open on attempt (tenant, channel) where ended_at is null;

-- Mails that failed, by what of them can kill a parser: where their likes are tried from now on.
create table crash (
  tenant int not null,
  hash bytea not null,
  rung smallint not null,
  blamed int[] not null,
  deaths smallint not null,
  first_at timestamptz not null default now(),
  last_at timestamptz not null default now(),
  primary key (tenant, hash)
);
create index crash_newest on crash (last_at);

create table quarantine (
  tenant int not null references tenant,
  number bigint not null,
  cause text not null check (cause in ('conflict', 'expired', 'undecodable', 'poison')),
  -- What can't be read of an undecodable one.
  reason text,
  -- The original of a conflict; the message itself of a poison one.
  of_channel smallint,
  of_sequence bigint,
  source int not null,
  kind text not null,
  account text not null,
  type text,
  external_id text,
  value text,
  event_time timestamptz,
  arrived_at timestamptz not null,
  peer text not null,
  meta json,
  fingerprint bytea not null,
  digest bytea not null,
  sha256 bytea not null,
  raw bytea not null,
  -- Of a poison mail: what of it can kill a parser, as in attempt.
  crash_hash bytea,
  -- How often the same came.
  count int not null default 1,
  last_at timestamptz not null,
  state text not null default 'held' check (state in ('held', 'released', 'discarded')),
  -- As in message.
  erased_at timestamptz,
  -- When it was released or discarded: a retention counts from there.
  decided_at timestamptz,
  -- Since when its content may have been sequenced; from then on it can be released (again), and not be discarded.
  release_begun_at timestamptz,
  primary key (tenant, number),
  unique (tenant, cause, fingerprint, digest)
);
create index quarantine_held on quarantine (tenant, number) where state = 'held';
create index quarantine_decided on quarantine (decided_at) where decided_at is not null;
create index quarantine_crash on quarantine (tenant, crash_hash, number) where crash_hash is not null;

create table refusal (
  id bigint generated always as identity primary key,
  tenant int,
  ingress text not null,
  peer text not null,
  envelope json not null,
  code text not null,
  why text not null,
  count int not null,
  first_at timestamptz not null,
  last_at timestamptz not null
);
create index refusal_tenant on refusal (tenant, last_at);

-- People of a tenant.
create table person (
  tenant int not null references tenant,
  id int generated always as identity,
  name text not null,
  role text not null check (role in ('owner', 'operator', 'viewer')),
  created_at timestamptz not null default now(),
  disabled_at timestamptz,
  primary key (tenant, id),
  unique (tenant, name)
);

-- One-time sign-in links. Only the SHA-256 of what the link holds is kept, as with sessions and tokens.
create table sign_in (
  hash bytea primary key,
  tenant int not null,
  person int not null,
  expires_at timestamptz not null,
  used_at timestamptz,
  foreign key (tenant, person) references person on delete cascade
);

create table session (
  hash bytea primary key,
  tenant int not null,
  person int not null,
  csrf text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  foreign key (tenant, person) references person on delete cascade
);

create table token (
  tenant int not null references tenant,
  id int generated always as identity,
  name text not null,
  hash bytea not null unique,
  permissions text[] not null,
  created_by text not null,
  created_at timestamptz not null default now(),
  expires_at timestamptz,
  revoked_at timestamptz,
  last_used_at timestamptz,
  primary key (tenant, id),
  unique (tenant, name)
);

-- Who changed or was refused what.
create table audit (
  tenant int not null references tenant,
  id bigint generated always as identity,
  at timestamptz not null default now(),
  who text not null,
  action text not null,
  object text not null,
  detail json,
  primary key (tenant, id)
);
