-- The gate: which accounts may move money (DRP-3.2b, decision 18). Idempotent; run by gate_install.py as siaga_gate_owner.
--
-- Closing is one row: a higher generation with `is_open = false` closes every account at once. Opening is a default with
-- exceptions, so a million accounts open in one statement. Every table has a primary key, for both publications, and
-- no sequence: a switch carries them as they are.

create or replace function siaga.gate_version() returns integer language sql immutable return 1;

-- The advisory lock that movements share: "SIAGA" in ASCII.
create or replace function siaga.movements_lock() returns bigint language sql immutable return 357711300417;

create table if not exists siaga.gate (
    id             integer primary key default 1 check (id = 1),
    generation     bigint not null,
    is_open        boolean not null,     -- of every account that is no exception, new ones too
    closed_count   bigint not null default 0 check (closed_count >= 0),   -- closed exceptions of this generation
    scope_wanted   text not null check (scope_wanted in ('internal', 'journal')),
    reason         text not null,
    raised_by      text not null,
    raised_at      timestamptz not null default now(),
    raised_key     text,                 -- of the run that raised it: raising twice for one run is raising once
    settled_xid    xid8,                 -- whoever sees this transaction sees all movements from before the generation
    settled_system text,                 -- system identifier of the server whose transaction that is
    verdict_lsn    pg_lsn,               -- of the check that opened the default; null while nothing was verified
    verdict_system text,                 -- the server that this LSN is of
    verdict_digest text,
    changed_at     timestamptz not null default now(),
    constraint only_a_verdict_opens_a_raised_gate check (not is_open or generation = 1 or verdict_lsn is not null)
);

create table if not exists siaga.gate_exceptions (
    generation bigint not null,          -- exceptions of an older one mean nothing any more
    account    text not null,            -- as PostgreSQL writes its id
    is_open    boolean not null,
    why        text not null,
    entries    jsonb not null default '[]',   -- those at fault, as the check named them
    lsn        pg_lsn,                   -- of the verdict; null: opened without one, by override
    system     text,
    digest     text,
    changed_by text not null,
    changed_at timestamptz not null default now(),
    primary key (generation, account),
    constraint whoever_has_no_verdict_is_named check (lsn is not null or why like 'override by %')
);

-- Movements of closed accounts that were let through: lost transactions given back by siaga_replay.
create table if not exists siaga.gate_passes (
    generation bigint not null,
    account    text not null,
    xid        xid8 not null,
    passed_at  timestamptz not null default now(),
    primary key (generation, account, xid)
);

-- Every change of the gate, append-only.
create table if not exists siaga.gate_history (
    id         uuid primary key default gen_random_uuid(),
    changed_at timestamptz not null default clock_timestamp(),
    changed_by text not null,
    act        text not null,
    generation bigint not null,
    reason     text not null,
    figures    jsonb not null default '{}'
);

-- Which tables the gate stands before: the map of `siaga ledger check`.
create table if not exists siaga.gate_ledger (
    id  integer primary key default 1 check (id = 1),
    map jsonb not null
);

-- How an account stands, for showing: takes no lock, works on a read replica.
create or replace function siaga.account_gate(account text, out is_open boolean, out generation bigint, out why text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_variable
declare
    v_gate siaga.gate;
    v_exception siaga.gate_exceptions;
begin
    select * into v_gate from siaga.gate g;
    if v_gate.id is null then
        raise exception 'siaga.gate has no row, expected one: no account is open' using errcode = 'SG002';
    end if;
    select * into v_exception from siaga.gate_exceptions x
        where x.generation = v_gate.generation and x.account = account_gate.account;
    generation := v_gate.generation;
    is_open := coalesce(v_exception.is_open, v_gate.is_open);
    why := coalesce(v_exception.why, case when v_gate.is_open then 'open' else 'being verified: ' || v_gate.reason end);
end $$;

-- "Everything is open", in one word: the start time of this server, written here once the gate is open for everybody.
-- Asking the tables costs a movement 20 us, reading this costs 1 us (measured). A sequence is read without a snapshot and
-- written at once, and so it is only ever believed in the safe direction:
--   * any change of the gate's row takes it back first, in an apply worker too (`ask_again`, enabled always);
--   * it is written by a transaction of its own, under the row's lock, after the opening was committed;
--   * on another server, a copy, or after a restart the start time differs, and the tables are asked.
create sequence if not exists siaga.gate_open_since owned by siaga.gate.id;   -- no table, no word

-- Takes the lock that movements share, then reads that word; false where somebody holds the lock alone.
create or replace function siaga.all_open() returns boolean language sql volatile
return pg_try_advisory_xact_lock_shared(siaga.movements_lock())
    and pg_sequence_last_value('siaga.gate_open_since'::regclass)
        = (date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint;

create or replace function siaga.ask_again() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform setval('siaga.gate_open_since', 1);
    if tg_op = 'DELETE' then
        return old;
    end if;
    return new;
end $$;
create or replace trigger ask_again before insert or update or delete on siaga.gate
    for each row execute function siaga.ask_again();
create or replace trigger ask_again_after_truncate before truncate on siaga.gate
    for each statement execute function siaga.ask_again();
alter table siaga.gate enable always trigger ask_again, enable always trigger ask_again_after_truncate;

-- Write the word where everything is open; whether it is. A row that this very transaction opened does not count: the
-- transaction may yet be undone, and the word would stay.
create or replace function siaga.note_all_open() returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform from siaga.gate g where g.is_open and g.closed_count = 0
        and g.xmin::text::bigint is distinct from pg_current_xact_id_if_assigned()::text::bigint % 4294967296 for update;
    if found then
        perform setval('siaga.gate_open_since', (date_part('epoch', pg_postmaster_start_time()) * 1000000)::bigint);
    end if;
    return found;
end $$;

-- The first of these accounts that may not move money now, or null. To be called in the transaction of the movement,
-- before it writes; asked twice in one transaction, the second answer may be that an account has closed meanwhile.
--
-- The shared lock is what a raise waits for: whoever holds it may have read the gate as it was before. It is taken first,
-- and the gate is read by the next statement, whose snapshot is newer. Under repeatable read the snapshot may be older
-- than the lock; there the row is locked too, and a change since then is a serialization failure instead of an old answer.
-- The exceptions are read one statement later: a generation's are not removed before its movements have ended.
create or replace function siaga.closed_account(variadic accounts text[]) returns text
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_generation bigint;
    v_is_open    boolean;
    v_closed     text;
begin
    if siaga.all_open() then
        return null;
    end if;
    perform pg_advisory_xact_lock_shared(siaga.movements_lock());
    if current_setting('transaction_isolation') <> 'read committed' then
        perform from siaga.gate g for share;
    end if;
    select g.generation, g.is_open into v_generation, v_is_open from siaga.gate g;
    if v_is_open is null then
        raise exception 'siaga.gate has no row, expected one: no account is open' using errcode = 'SG002';
    end if;
    select a into v_closed from unnest(accounts) a
        left join siaga.gate_exceptions x on x.generation = v_generation and x.account = a
        where a is not null and not coalesce(x.is_open, v_is_open) limit 1;
    if v_closed is not null and session_user = 'siaga_replay' then
        insert into siaga.gate_passes (generation, account, xid)
            select v_generation, a, pg_current_xact_id() from unnest(accounts) a where a is not null
            on conflict do nothing;
        return null;
    end if;
    return v_closed;
end $$;
