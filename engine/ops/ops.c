/* The table of ops. */
#include "engine/ops/ops.h"

#define STK_OP_X(name, text, symbol) extern const struct stk_op_def symbol;
STK_OP_LIST(STK_OP_X)
#undef STK_OP_X

const struct stk_op_def *const stk_ops[STK_OP_COUNT] = {
#define STK_OP_X(name, text, symbol) [STK_OP_##name] = &symbol,
    STK_OP_LIST(STK_OP_X)
#undef STK_OP_X
};

const char *stk_op_text(int32_t op) {
  static const char *const texts[STK_OP_COUNT] = {
#define STK_OP_X(name, text, symbol) [STK_OP_##name] = text,
      STK_OP_LIST(STK_OP_X)
#undef STK_OP_X
  };
  return op >= 0 && op < STK_OP_COUNT ? texts[op] : "?";
}
