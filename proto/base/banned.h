/* Functions that no source of ours calls: force-included by the build ahead of every file.
 *
 * Each is declared here with a `deprecated` attribute that says what to use; the C library's own
 * declaration adds to it, and -Werror makes a call an error. No header is included, so a source
 * still has to include what it uses. What only some directories may call (malloc, exit, printf) is
 * tests/lint's to check.
 */
#ifndef SP_BASE_BANNED_H
#define SP_BASE_BANNED_H

#define SP_BANNED(use) __attribute__((deprecated("banned: " use)))

SP_BANNED("use snprintf or sp_buf_printf") int sprintf(char *, const char *, ...);
SP_BANNED("use vsnprintf or sp_buf_vprintf") int vsprintf(char *, const char *, __builtin_va_list);
SP_BANNED("use memcpy with a known length or sp_buf") char *strcpy(char *, const char *);
SP_BANNED("use memcpy with a known length or sp_buf") char *stpcpy(char *, const char *);
SP_BANNED("use sp_buf") char *strcat(char *, const char *);
SP_BANNED("use memcpy or snprintf") char *strncpy(char *, const char *, __SIZE_TYPE__);
SP_BANNED("use sp_buf") char *strncat(char *, const char *, __SIZE_TYPE__);
SP_BANNED("use fgets or sp_file_read") char *gets(char *);
SP_BANNED("use strcspn or strchr") char *strtok(char *, const char *);
SP_BANNED("use sp_parse_i64") int atoi(const char *);
SP_BANNED("use sp_parse_i64") long atol(const char *);
SP_BANNED("use sp_parse_i64") long long atoll(const char *);
SP_BANNED("use sp_parse_f64") double atof(const char *);
SP_BANNED("use posix_spawn or fork and exec") int system(const char *);
SP_BANNED("use mkstemp or mkdtemp") char *mktemp(char *);
SP_BANNED("use mkstemp or mkdtemp") char *tmpnam(char *);
SP_BANNED("randomness is keyed: engine/num") int rand(void);
SP_BANNED("randomness is keyed: engine/num") void srand(unsigned);
SP_BANNED("randomness is keyed: engine/num") long random(void);
SP_BANNED("the C locale is assumed everywhere") char *setlocale(int, const char *);

#undef SP_BANNED

#endif
