import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { demandsOf, Line, type Lined } from '../../src/channel/line.js';
import { Room } from '../../src/channel/room.js';

interface Row extends Lined {
  readonly n: number;
}

const ANY = () => true;
const MANY = Number.POSITIVE_INFINITY;
const demands = (rows: readonly Row[]) =>
  demandsOf(
    rows,
    (row) => row.tenant,
    (row) => row.bytes,
  );

/** Rows of one request by the tenants they are of. */
function request(tenants: readonly number[], bytes = 1): Row[] {
  const of = {};
  return tenants.map((tenant, n) => ({ tenant, bytes, n, request: of }));
}

function enter(line: Line<Row>, rows: readonly Row[]): boolean {
  const fits = line.reserve(demands(rows));
  if (fits) line.add(rows);
  return fits;
}

function countOf(rows: readonly Row[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const { tenant } of rows) counts.set(tenant, (counts.get(tenant) ?? 0) + 1);
  return counts;
}

const greedy = (room: Room, tenant: number, step: number) => {
  while (room.take(tenant, step));
};

describe('room', () => {
  it('leaves as much free as one tenant takes, however greedy it is', () => {
    const room = new Room(1000);
    greedy(room, 1, 10);
    expect(room.heldBy(1)).toBe(500);
    greedy(room, 2, 10);
    expect(room.heldBy(2)).toBe(250);
    // Both come back for what the other has left.
    greedy(room, 1, 10);
    expect(room.used).toBe(750);
  });

  it('has room for a newcomer beside any number of greedy tenants, and never more than its limit', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 100, max: 5000 }),
        fc.array(fc.record({ tenant: fc.integer({ min: 1, max: 9 }), amount: fc.integer({ min: 1, max: 20 }) }), {
          maxLength: 600,
        }),
        (limit, asks) => {
          const room = new Room(limit);
          const tenants = new Set<number>();
          for (const { tenant, amount } of asks) {
            // What a tenant takes first is bounded by the room alone.
            const first = room.heldBy(tenant) === 0;
            if (room.take(tenant, amount)) tenants.add(tenant);
            expect(room.used).toBeLessThanOrEqual(limit);
            if (!first) expect(room.heldBy(tenant)).toBeLessThanOrEqual(limit / 2);
          }
          // k greedy tenants leave a share of k + 1, but for what each took at first.
          expect(room.free).toBeGreaterThanOrEqual(Math.floor(limit / (tenants.size + 1)) - 20 * tenants.size);
        },
      ),
    );
  });

  it('is empty again when everything is given back', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 0, max: 50 }))), (asks) => {
        const room = new Room(500);
        const taken = asks.filter(([tenant, amount]) => room.take(tenant, amount));
        for (const [tenant, amount] of taken) room.remove(tenant, amount);
        expect([room.used, room.heldBy(1), room.heldBy(2)]).toEqual([0, 0, 0]);
      }),
    );
  });
});

describe('the line', () => {
  it('keeps one tenant that fills it from having another refused', () => {
    const line = new Line<Row>({ rows: 1000, bytes: 1 << 20 });
    while (enter(line, request(Array(50).fill(1))));
    expect(line.rows).toBe(500);
    expect(enter(line, request(Array(400).fill(2)))).toBe(true);
    // The bytes are bounded alike, with what is under way.
    const bytes = new Line<Row>({ rows: 1000, bytes: 1000 });
    while (enter(bytes, request([1], 100)));
    expect(bytes.take({ rows: 10, bytes: 10_000, requests: MANY }, ANY)).toHaveLength(5);
    expect(enter(bytes, request([1], 100))).toBe(true);
    expect(enter(bytes, request([1], 100))).toBe(false);
    expect(enter(bytes, request([2], 400))).toBe(true);
  });

  it('takes one request that exceeds its bounds when nothing else waits, and no second one', () => {
    const line = new Line<Row>({ rows: 10, bytes: 100 });
    expect(enter(line, request(Array(30).fill(1), 50))).toBe(true);
    expect(enter(line, request([2]))).toBe(false);
    expect(line.rows).toBe(30);
    line.settled(line.take({ rows: 50, bytes: 1 << 20, requests: MANY }, ANY));
    expect([line.rows, line.bytes]).toEqual([0, 0]);
  });

  it('takes a request of several tenants whole or not at all', () => {
    const line = new Line<Row>({ rows: 100, bytes: 1 << 20 });
    while (enter(line, request([1])));
    const before = line.rows;
    expect(enter(line, request([2, 1]))).toBe(false);
    expect(line.rows).toBe(before);
    expect(enter(line, request([2, 3]))).toBe(true);
  });

  it('gives each tenant its even share of a batch, and what one leaves to the others', () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 40 }), { maxLength: 20 }),
        fc.integer({ min: 1, max: 60 }),
        (requests, most) => {
          const line = new Line<Row>({ rows: 1 << 20, bytes: 1 << 30 });
          for (const tenants of requests) enter(line, request(tenants));
          const waiting = countOf(requests.flatMap((tenants) => request(tenants)));
          const total = [...waiting.values()].reduce((sum, count) => sum + count, 0);
          const batch = line.take({ rows: most, bytes: 1 << 30, requests: MANY }, ANY);
          expect(batch).toHaveLength(Math.min(most, total));
          const given = countOf(batch);
          for (const [tenant, count] of waiting) {
            expect(given.get(tenant) ?? 0).toBeGreaterThanOrEqual(Math.min(count, Math.floor(most / waiting.size)));
          }
        },
      ),
    );
  });

  it('gives each tenant its turn, also when a batch has room for fewer than there are', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 5 }), (tenants, most) => {
        const line = new Line<Row>({ rows: 1 << 20, bytes: 1 << 30 });
        for (let tenant = 1; tenant <= tenants; tenant++) enter(line, request(Array(100).fill(tenant)));
        const given = countOf(
          Array.from({ length: Math.ceil(tenants / most) }, () =>
            line.take({ rows: most, bytes: 1 << 30, requests: MANY }, ANY),
          ).flat(),
        );
        expect(given.size).toBe(tenants);
      }),
    );
  });

  it('shares out the bytes of a batch as well, and exceeds them by no more than one row', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 400 })), { minLength: 1 }),
        (rows) => {
          const line = new Line<Row>({ rows: 1 << 20, bytes: 1 << 30 });
          for (const [tenant, bytes] of rows) enter(line, request([tenant], bytes));
          const batch = line.take({ rows: 1000, bytes: 1000, requests: MANY }, ANY);
          const size = batch.reduce((sum, { bytes }) => sum + bytes, 0);
          expect(size - (batch.at(-1)?.bytes ?? 0)).toBeLessThan(1000);
          // Who got less than a share of rows of at most 400 had no more.
          const waiting = countOf(rows.flatMap(([tenant, bytes]) => request([tenant], bytes)));
          const tenants = waiting.size;
          const given = countOf(batch);
          for (const [tenant, count] of waiting) {
            const of = batch.filter((row) => row.tenant === tenant).reduce((sum, { bytes }) => sum + bytes, 0);
            if ((given.get(tenant) ?? 0) < count && size >= 1000)
              expect(of + 400 * tenants).toBeGreaterThan(1000 / tenants);
          }
        },
      ),
    );
  });

  it('keeps the order of each tenant, whatever is passed over and however it is cut into batches', () => {
    const step = fc.record({
      tenants: fc.array(fc.integer({ min: 1, max: 4 }), { maxLength: 12 }),
      rows: fc.integer({ min: 1, max: 10 }),
      refused: fc.uniqueArray(fc.integer({ min: 1, max: 4 })),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const line = new Line<Row>({ rows: 1 << 20, bytes: 1 << 30 });
        const given: Row[] = [];
        let n = 0;
        for (const { tenants, rows, refused } of steps) {
          enter(
            line,
            tenants.map((tenant) => ({ tenant, bytes: 1, n: n++, request: tenants })),
          );
          // Of the refused tenants every other row may not go.
          const batch = line.take({ rows, bytes: 1 << 30, requests: MANY }, (row) => !refused.includes(row.tenant));
          expect(batch.every((row) => !refused.includes(row.tenant))).toBe(true);
          expect(line.passedOver).toBeLessThanOrEqual(line.rows);
          line.settled(batch);
          given.push(...batch);
        }
        given.push(...line.take({ rows: 1 << 20, bytes: 1 << 30, requests: MANY }, ANY));
        expect(line.rows).toBe(0);
        expect([...given].map((row) => row.n).sort((a, b) => a - b)).toEqual(Array.from({ length: n }, (_, i) => i));
        for (const tenant of [1, 2, 3, 4]) {
          const own = given.filter((row) => row.tenant === tenant).map((row) => row.n);
          expect(own).toEqual([...own].sort((a, b) => a - b));
        }
      }),
    );
  });

  it('gives tenants that always wait as many requests each, however few go at a time', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1, max: 40 }), (tenants, most) => {
        const line = new Line<Row>({ rows: 1 << 20, bytes: 1 << 30 });
        for (let tenant = 1; tenant <= tenants; tenant++) for (let n = 0; n < 200; n++) enter(line, request([tenant]));
        const given: Row[] = [];
        for (let n = 0; n < 10 && given.length < 100 * tenants; n++)
          given.push(...line.take({ rows: 1000, bytes: 1 << 30, requests: most }, ANY));
        const counts = [...countOf(given).values()];
        expect(counts).toHaveLength(Math.min(tenants, given.length));
        expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
      }),
    );
  });

  it('takes no more requests than it may, whole ones first, and all that is there in the end', () => {
    const requests = fc.array(fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 5 }), {
      maxLength: 30,
    });
    fc.assert(
      fc.property(requests, fc.integer({ min: 1, max: 6 }), (each, most) => {
        const line = new Line<Row>({ rows: 1 << 20, bytes: 1 << 30 });
        for (const tenants of each) enter(line, request(tenants));
        let left = each.flat().length;
        while (line.rows > 0) {
          const batch = line.take({ rows: 1000, bytes: 1 << 30, requests: most }, ANY);
          expect(new Set(batch.map((row) => row.request)).size).toBeLessThanOrEqual(most);
          expect(batch.length).toBeGreaterThan(0);
          left -= batch.length;
          expect(line.rows).toBe(left);
        }
        expect(left).toBe(0);
      }),
    );
    const line = new Line<Row>({ rows: 1000, bytes: 1 << 30 });
    for (let n = 0; n < 5; n++) enter(line, request([1, 1, 1]));
    expect(line.take({ rows: 1000, bytes: 1 << 30, requests: 2 }, ANY)).toHaveLength(6);
  });

  it('keeps what it passed over in front of what came later', () => {
    const line = new Line<Row>({ rows: 100, bytes: 1000 });
    enter(line, request(Array(10).fill(1)));
    const even = line.take({ rows: 100, bytes: 1000, requests: MANY }, (row) => row.n % 2 === 0);
    expect(even.map((row) => row.n)).toEqual([0, 2, 4, 6, 8]);
    expect(line.passedOver).toBe(5);
    enter(line, [{ tenant: 1, bytes: 1, n: 99, request: {} }]);
    expect(line.take({ rows: 100, bytes: 1000, requests: MANY }, ANY).map((row) => row.n)).toEqual([1, 3, 5, 7, 9, 99]);
    expect(line.passedOver).toBe(0);
  });
});
