/** One piece of structured data that was found in a message. */
export interface Found {
  /** `phone`, `email`, `address`, `amount`, `date`, `order-number`, `name`, or a name of the user's own. */
  readonly type: string;
  /** In the one spelling of its type, where it can mean only one thing; else as written. Of an amount its digits. */
  readonly value: string;
  /** As it stands in the message. */
  readonly written: string;
  /** `subject`, `text, line 3`, `header x-order`, `/data/order/id`, `calendar 1, item 2, start`. */
  readonly where: string;
  /** Of an amount, where it is named: ISO 4217. */
  readonly currency?: string;
  /** What is written may mean several things, or nothing of this type: `value` is as written. */
  readonly unclear?: true;
}
