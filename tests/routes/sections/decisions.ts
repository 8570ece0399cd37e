import { describe, expect, test } from 'vitest';
import { compileExtractors } from '../../../src/content/extract/extract.js';
import { messageId, type Place } from '../../../src/message/id.js';
import type { Api } from '../harness.js';
import { addDelivery, addMessage, addSource, addTarget, plan, stand } from '../seed.js';

export function decisions(get: () => Api): void {
  let made = 0;
  const inAnHour = () => new Date(Date.now() + 3_600_000).toISOString();

  /** A message that waits in the inbox, and two targets. */
  async function waiting(channel = 0) {
    const api = get();
    const name = `decide-${++made}`;
    const source = await addSource(api.pool, api.tenant, name);
    const targets = {
      [`${name}-a`]: await addTarget(api.pool, api.tenant, `${name}-a`),
      [`${name}-b`]: await addTarget(api.pool, api.tenant, `${name}-b`),
    };
    const place = await addMessage(api.pool, api.tenant, { source, channel });
    await plan(api.pool, api.tenant, place);
    return {
      api,
      place,
      source,
      id: messageId(place),
      a: `${name}-a`,
      b: `${name}-b`,
      idOf: (target: string) => targets[target] ?? 0,
    };
  }

  const decide = (api: Api, id: string, action: string, body: unknown, headers = {}) =>
    api.call('POST', `/v1/messages/${id}/${action}`, { body, headers });

  const standing = async (api: Api, id: string) => {
    const { body } = await api.call('GET', `/v1/messages/${id}`);
    return [body.state, body.version];
  };

  async function rows(api: Api, { channel, sequence }: Place) {
    const sql =
      'select version, action, targets, plan, who from decision where tenant = $1 and channel = $2 and sequence = $3 order by version';
    return (await api.pool.query(sql, [api.tenant.id, channel, sequence])).rows;
  }

  describe('assigning', () => {
    test('leaves a row for the owner, wakes it, and takes the message out of the inbox', async () => {
      const { api, place, id, a, b, idOf } = await waiting(1);
      api.woken.length = 0;
      const { status, body } = await decide(api, id, 'assign', { version: 1, targets: [a, b, a], reason: 'theirs' });
      expect(status).toBe(202);
      expect(body).toMatchObject({
        message: id,
        version: 2,
        action: 'assign',
        who: 'admin token',
        targets: [a, b],
        reason: 'theirs',
      });
      expect(await rows(api, place)).toEqual([
        { version: 2, action: 'assign', targets: [idOf(a), idOf(b)], plan: null, who: 'admin token' },
      ]);
      expect(api.woken).toEqual([`${api.tenant.id}/1`]);
      expect(await standing(api, id)).toEqual(['routed', 2]);
    });

    test('may be held', async () => {
      const { api, id, a } = await waiting();
      const { body } = await decide(api, id, 'assign', { version: 1, targets: [a], hold: 10 });
      expect(Date.parse(body.holdUntil) - Date.parse(body.decidedAt)).toBe(10_000);
    });

    test('names what was probably meant by an unknown target, and decides nothing', async () => {
      const { api, id, a } = await waiting();
      const { status, body } = await decide(api, id, 'assign', { version: 1, targets: [`${a}x`] });
      expect([status, body.code, body.suggestion]).toEqual([422, 'unknown_target', a]);
      expect(await standing(api, id)).toEqual(['waiting', 1]);
    });

    test('takes a portion that the message has, and keeps it with the decision', async () => {
      const { api, place, id, a, b, source } = await waiting();
      api.extractors.set(source, compileExtractors([{ from: 'pointer', type: 'amount', pointer: '/data/amount' }]));
      const found = await api.call('GET', `/v1/messages/${id}`);
      expect(found.body.found).toEqual([{ type: 'amount', value: '1', written: '1', where: '/data/amount' }]);
      for (const [portion, code] of [
        [{ part: 1 }, 'no_such_part'],
        [{ fields: ['phone'] }, 'field_not_found'],
        [{ fields: [] }, 'invalid_body'],
        [{ part: 0 }, 'invalid_body'],
      ] as const) {
        const { status, body } = await decide(api, id, 'assign', { version: 1, targets: [a], ...portion });
        expect([status, body.code]).toEqual([422, code]);
      }
      const { status, body } = await decide(api, id, 'assign', { version: 1, targets: [a], fields: ['amount'] });
      expect([status, body.portion]).toEqual([202, { fields: ['amount'] }]);
      // It has that portion coming, and the whole is another thing.
      const again = await decide(api, id, 'assign', { version: 2, targets: [a], fields: ['amount'] });
      expect([again.status, again.body.code]).toEqual([409, 'already_assigned']);
      expect((await decide(api, id, 'assign', { version: 2, targets: [a, b] })).body.targets).toEqual([a, b]);
      expect((await decide(api, id, 'unassign', { version: 3 })).body.targets.sort()).toEqual([a, b]);
      expect((await rows(api, place)).map(({ targets, plan: carried }) => [targets, carried])).toEqual([
        [[], 0],
        [[], 0],
        [expect.anything(), 0],
      ]);
    });

    test('of several portions is sent again as each was, a decision each', async () => {
      const { api, place, id, a, b, idOf } = await waiting();
      const seeded: [number, object | null][] = [
        [idOf(a), { part: 1 }],
        [idOf(a), { part: 2 }],
        [idOf(b), { part: 2 }],
        [idOf(b), null],
      ];
      for (const [i, [target, portion]] of seeded.entries()) {
        const number = await plan(api.pool, api.tenant, place, { kind: 'extra', targets: [[target, i + 1, 'later']] });
        await addDelivery(api.pool, api.tenant, place, { target, number: i + 1, plan: number, state: 'delivered' });
        await api.pool.query('update delivery set portion = $1 where tenant = $2 and target = $3 and number = $4', [
          portion,
          api.tenant.id,
          target,
          i + 1,
        ]);
      }
      await stand(api.pool, api.tenant, place, 'routed');
      const headers = { 'idempotency-key': `again-${id}` };
      const first = await decide(api, id, 'replay', { version: 1 }, headers);
      expect([first.status, first.body.version]).toEqual([202, 4]);
      expect((await decide(api, id, 'replay', { version: 1 }, headers)).text).toBe(first.text);
      const { body } = await api.call('GET', `/v1/messages/${id}`);
      expect(
        body.decisions.map(({ targets, portion }: { targets: string[]; portion: unknown }) => [targets, portion]),
      ).toEqual([
        [[a], { part: 1 }],
        [[a], { part: 2 }],
        [[b], null],
      ]);
      expect(body.version).toBe(4);
    });

    test('adds to what it has, and sends nothing twice', async () => {
      const { api, place, id, a, b, idOf } = await waiting();
      await plan(api.pool, api.tenant, place, { kind: 'extra', targets: [[idOf(a), 1, 'now']] });
      const added = await decide(api, id, 'assign', { version: 1, targets: [a, b] });
      expect(added.body.targets).toEqual([b]);
      const again = await decide(api, id, 'assign', { version: 2, targets: [a, b] });
      expect([again.status, again.body.code]).toEqual([409, 'already_assigned']);
    });

    test('waits for the owner to have planned the message', async () => {
      const { api, a } = await waiting();
      const source = await addSource(api.pool, api.tenant, `unplanned-${++made}`);
      const place = await addMessage(api.pool, api.tenant, { source, channel: 1 });
      for (const action of ['assign', 'replay']) {
        const { status, body } = await decide(api, messageId(place), action, { version: 1, targets: [a] });
        expect([status, body.code]).toEqual([409, 'not_routed_yet']);
      }
    });
  });

  describe('two who decide', () => {
    test('at once: one wins, the other is told by whom and what', async () => {
      for (let round = 0; round < 5; round++) {
        const { api, place, id, a } = await waiting(2);
        const answers = await Promise.all([
          decide(api, id, 'assign', { version: 1, targets: [a] }),
          decide(api, id, 'close', { version: 1, reason: 'spam' }),
          decide(api, id, 'snooze', { version: 1, until: inAnHour() }),
        ]);
        const lost = answers.filter(({ status }) => status === 409);
        expect(lost).toHaveLength(2);
        const [row] = await rows(api, place);
        for (const { body } of lost)
          expect(body).toMatchObject({ code: 'decision_changed', version: 2, who: 'admin token', action: row.action });
        expect(await rows(api, place)).toHaveLength(1);
      }
    });

    test('about a message that rules simply routed: the same', async () => {
      const { api, a, b, idOf } = await waiting();
      const source = await addSource(api.pool, api.tenant, `race-${++made}`);
      for (let round = 0; round < 5; round++) {
        const place = await addMessage(api.pool, api.tenant, { source, channel: 3 });
        await plan(api.pool, api.tenant, place, { targets: [[idOf(a), 100 + round, 'now']] });
        const answers = await Promise.all(
          Array.from({ length: 4 }, () => decide(api, messageId(place), 'assign', { version: 1, targets: [b] })),
        );
        expect(answers.map(({ status }) => status).sort()).toEqual([202, 409, 409, 409]);
      }
    });

    test('one after the other, the second not having seen the first', async () => {
      const { api, id } = await waiting();
      await decide(api, id, 'note', { version: 1, reason: 'look here' });
      const { status, body } = await decide(api, id, 'close', { version: 1, reason: 'spam' });
      expect([status, body.code, body.version, body.action]).toEqual([409, 'decision_changed', 2, 'note']);
      expect((await decide(api, id, 'note', { version: 1, reason: 'late' })).status).toBe(409);
    });
  });

  describe('an Idempotency-Key', () => {
    test('answers the same again, also at once, and decides once', async () => {
      const { api, place, id, a } = await waiting();
      const headers = { 'idempotency-key': `key-${id}` };
      const answers = await Promise.all(
        Array.from({ length: 4 }, () => decide(api, id, 'assign', { version: 1, targets: [a] }, headers)),
      );
      expect(new Set(answers.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
      expect(answers[0]?.status).toBe(202);
      expect(await rows(api, place)).toHaveLength(1);
    });

    test('is good for one decision alone', async () => {
      const first = await waiting();
      const second = await waiting();
      const headers = { 'idempotency-key': `key-of-${first.id}` };
      await decide(first.api, first.id, 'close', { version: 1, reason: 'x' }, headers);
      for (const [id, action] of [
        [second.id, 'close'],
        [first.id, 'note'],
      ] as const) {
        const { status, body } = await decide(first.api, id, action, { version: 1, reason: 'x' }, headers);
        expect([status, body.code]).toEqual([422, 'idempotency_key_reused']);
      }
    });

    test('must be one', async () => {
      const { api, id } = await waiting();
      const { status, body } = await decide(api, id, 'note', { version: 1, reason: 'x' }, { 'idempotency-key': 'a b' });
      expect([status, body.code]).toEqual([400, 'idempotency_key_invalid']);
    });
  });

  describe('what takes effect at once', () => {
    test('close, reopen, snooze, note and back', async () => {
      const { api, place, id } = await waiting();
      expect((await decide(api, id, 'close', { version: 1, reason: 'spam' })).status).toBe(200);
      expect(await standing(api, id)).toEqual(['closed', 2]);
      expect((await decide(api, id, 'reopen', { version: 2 })).status).toBe(200);
      expect(await standing(api, id)).toEqual(['waiting', 3]);
      expect((await decide(api, id, 'snooze', { version: 3, until: inAnHour() })).status).toBe(200);
      expect(await standing(api, id)).toEqual(['snoozed', 4]);
      expect((await decide(api, id, 'note', { version: 4, reason: 'asked them' })).status).toBe(200);
      expect(await standing(api, id)).toEqual(['snoozed', 5]);
      expect((await decide(api, id, 'reopen', { version: 5 })).status).toBe(200);
      expect(await standing(api, id)).toEqual(['waiting', 6]);
      expect((await rows(api, place)).map(({ action, plan: carried }) => [action, carried])).toEqual(
        ['close', 'reopen', 'snooze', 'note', 'reopen'].map((action) => [action, 0]),
      );
    });

    test('a thousand decisions about one message are all there can be', async () => {
      const { api, place, id } = await waiting();
      await api.pool.query('update standing set version = 1000 where tenant = $1 and channel = $2 and sequence = $3', [
        api.tenant.id,
        place.channel,
        place.sequence,
      ]);
      expect((await decide(api, id, 'note', { version: 1000, reason: 'the last' })).status).toBe(200);
      const refused = await decide(api, id, 'note', { version: 1001, reason: 'one more' });
      expect(refused.status).toBe(409);
      expect(refused.body.detail).toContain('1000 times');
    });

    test('a snooze ends in the future, and not in years', async () => {
      const { api, id } = await waiting();
      for (const until of ['2020-01-01T00:00:00Z', '2200-01-01T00:00:00Z']) {
        const { status, body } = await decide(api, id, 'snooze', { version: 1, until });
        expect([status, body.code]).toEqual([422, 'until_invalid']);
      }
    });

    test('only from where it can be done', async () => {
      const { api, place, id } = await waiting();
      await stand(api.pool, api.tenant, place, 'parked');
      const parked = await decide(api, id, 'close', { version: 1, reason: 'x' });
      expect([parked.status, parked.body.code, parked.body.state]).toEqual([409, 'wrong_state', 'parked']);
      await stand(api.pool, api.tenant, place, 'closed');
      expect((await decide(api, id, 'close', { version: 1, reason: 'x' })).body.code).toBe('wrong_state');
      expect((await decide(api, id, 'unassign', { version: 1 })).body.code).toBe('wrong_state');
      await stand(api.pool, api.tenant, place, 'waiting');
      expect((await decide(api, id, 'reopen', { version: 1 })).body.code).toBe('wrong_state');
    });
  });

  describe('taking back', () => {
    test('within the hold strikes the decision out and puts the message back into the inbox', async () => {
      const { api, place, id, a, idOf } = await waiting();
      await decide(api, id, 'assign', { version: 1, targets: [a], hold: 10 });
      const { status, body } = await decide(api, id, 'unassign', { version: 2 });
      expect([status, body.targets]).toEqual([202, [a]]);
      expect(await rows(api, place)).toEqual([
        { version: 2, action: 'assign', targets: [], plan: 0, who: 'admin token' },
        { version: 3, action: 'unassign', targets: [idOf(a)], plan: 0, who: 'admin token' },
      ]);
      expect(await standing(api, id)).toEqual(['waiting', 3]);
    });

    test('of one of two leaves the other', async () => {
      const { api, place, id, a, b, idOf } = await waiting();
      await decide(api, id, 'assign', { version: 1, targets: [a, b] });
      await decide(api, id, 'unassign', { version: 2, targets: [a] });
      expect((await rows(api, place))[0]).toMatchObject({ targets: [idOf(b)], plan: null });
      expect(await standing(api, id)).toEqual(['routed', 3]);
    });

    test('of what is planned is left to the owner', async () => {
      const { api, place, id, a, idOf } = await waiting();
      const number = await plan(api.pool, api.tenant, place, { kind: 'extra', targets: [[idOf(a), 1, 'later']] });
      await addDelivery(api.pool, api.tenant, place, { target: idOf(a), number: 1, plan: number, state: 'pending' });
      await stand(api.pool, api.tenant, place, 'routed');
      expect((await decide(api, id, 'unassign', { version: 1 })).status).toBe(202);
      expect(await rows(api, place)).toEqual([
        { version: 2, action: 'unassign', targets: [idOf(a)], plan: null, who: 'admin token' },
      ]);
    });

    test('of what is delivered can’t be', async () => {
      const { api, place, id, a, idOf } = await waiting();
      await plan(api.pool, api.tenant, place, { kind: 'extra', targets: [[idOf(a), 1, 'now']] });
      await stand(api.pool, api.tenant, place, 'routed');
      const { status, body } = await decide(api, id, 'unassign', { version: 1 });
      expect([status, body.code]).toEqual([409, 'nothing_to_take_back']);
    });
  });

  describe('replaying', () => {
    test('goes to the targets it had, or to those named', async () => {
      const { api, place, id, a, b, idOf } = await waiting();
      await plan(api.pool, api.tenant, place, { kind: 'extra', targets: [[idOf(a), 1, 'now']] });
      await stand(api.pool, api.tenant, place, 'routed');
      const { status, body } = await decide(api, id, 'replay', { version: 1 });
      expect([status, body.targets]).toEqual([202, [a]]);
      expect((await decide(api, id, 'replay', { version: 2, targets: [b] })).body.targets).toEqual([b]);
    });

    test('needs a target', async () => {
      const { api, id } = await waiting();
      const { status, body } = await decide(api, id, 'replay', { version: 1 });
      expect([status, body.code]).toEqual([422, 'no_targets']);
    });

    test('assigning and reopening need the content', async () => {
      const { api, a } = await waiting();
      const place = await addMessage(api.pool, api.tenant, { source: 1, dropped: true });
      for (const [action, asked] of [
        ['replay', { version: 1, targets: [a] }],
        ['assign', { version: 1, targets: [a] }],
        ['reopen', { version: 1 }],
      ] as const) {
        const { status, body } = await decide(api, messageId(place), action, asked);
        expect([status, body.code]).toEqual([410, 'content_gone']);
      }
    });
  });
}
