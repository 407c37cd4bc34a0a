/** What the journal tells whoever watches the daemon; a pino logger fits. */
export interface Log {
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
}
