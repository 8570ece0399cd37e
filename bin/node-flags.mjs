/**
 * What Node is started with (decision 34). The start script, the container and the service, which can't import it, say the
 * same; a test holds them to it.
 */
export const NODE_FLAGS = ['--max-semi-space-size=16', '--heap-growing-percent=200'];
