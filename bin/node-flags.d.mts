/** What Node is started with: V8 options, each as an argument. */
export const NODE_FLAGS: readonly string[];
