/* A program in C that has Python in it: started without argv, ended and started again, with
   a sub-interpreter. What Python runs is in the file named last.

   embedding plain SIGNALS FILE     Py_InitializeEx(SIGNALS)
   embedding config KIND FILE       KIND: python, isolated (PyConfig), argv (python with one)
   embedding twice 0 FILE           three lives in one process
   embedding sub 0 FILE             FILE runs in a sub-interpreter
   embedding own 0 FILE             FILE runs in one with an interpreter lock of its own
   embedding unended 0 FILE         Python is never ended
   embedding idle 0 FILE            after FILE, C waits for a line on stdin without the lock
   embedding forks 0 FILE           likewise, and before that C forks a child that ends
   embedding thread 0 FILE          Python lives in a thread that is not the process's first
   embedding last 0 FILE            likewise, and the first has ended: the process ends with the last
*/
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int run_file(const char *path)
{
    FILE *file = fopen(path, "r");
    return file == NULL ? 1 : PyRun_SimpleFileEx(file, path, 1);
}

static int run_config(const char *kind, const char *path)
{
    PyConfig config;
    char *argv[] = {"a-program-in-c", "an argument", NULL};
    if (strcmp(kind, "isolated") == 0)
        PyConfig_InitIsolatedConfig(&config);
    else
        PyConfig_InitPythonConfig(&config);
    PyStatus status = PyStatus_Ok();
    if (strcmp(kind, "argv") == 0) {
        config.parse_argv = 0;
        status = PyConfig_SetBytesArgv(&config, 2, argv);
    }
    if (!PyStatus_Exception(status))
        status = Py_InitializeFromConfig(&config);
    PyConfig_Clear(&config);
    return PyStatus_Exception(status) ? 99 : run_file(path);
}

static int run_sub(const char *path, int own_lock)
{
    PyThreadState *main_state = PyThreadState_Get(), *sub = NULL;
    int failed = 1;
    if (own_lock) {
#if PY_VERSION_HEX >= 0x030C0000
        PyInterpreterConfig config = {
            .check_multi_interp_extensions = 1,
            .gil = PyInterpreterConfig_OWN_GIL,
        };
        if (PyStatus_Exception(Py_NewInterpreterFromConfig(&sub, &config)))
            sub = NULL;
#endif
    } else {
        sub = Py_NewInterpreter();
    }
    if (sub != NULL) {
        failed = run_file(path);
        Py_EndInterpreter(sub);
    }
    PyThreadState_Swap(main_state);
    return failed;
}

static int run_idle(const char *path)
{
    char line[16];
    int failed = run_file(path);
    Py_BEGIN_ALLOW_THREADS
    if (fgets(line, sizeof line, stdin) == NULL)
        failed = 1;
    Py_END_ALLOW_THREADS
    return failed;
}

static int run_forks(const char *path)
{
    int failed = run_file(path), status = 1;
    PyOS_BeforeFork();
    pid_t child = fork();
    if (child == 0) {
        PyOS_AfterFork_Child();
        exit(Py_FinalizeEx() < 0);
    }
    PyOS_AfterFork_Parent();
    waitpid(child, &status, 0);
    printf("forked\n");
    fflush(stdout);
    return run_idle("/dev/null") || failed || status != 0;
}

static void *run_thread(void *path)
{
    Py_InitializeEx(0);
    int failed = run_file(path);
    return Py_FinalizeEx() < 0 || failed ? path : NULL;
}

int main(int argc, char **argv)
{
    const char *how = argv[1], *what = argv[2], *path = argv[3];
    int failed = 0;
    if (strcmp(how, "config") == 0) {
        failed = run_config(what, path);
        return failed == 99 ? 99 : Py_FinalizeEx() < 0 ? 98 : failed != 0;
    }
    if (strcmp(how, "thread") == 0 || strcmp(how, "last") == 0) {
        pthread_t thread;
        void *result;
        pthread_create(&thread, NULL, run_thread, argv[3]);
        if (strcmp(how, "last") == 0)
            pthread_exit(NULL);
        pthread_join(thread, &result);
        return result != NULL;
    }
    for (int life = strcmp(how, "twice") == 0 ? 3 : 1; life > 0 && !failed; life--) {
        Py_InitializeEx(atoi(what));
        if (strcmp(how, "sub") == 0 || strcmp(how, "own") == 0)
            failed = run_sub(path, strcmp(how, "own") == 0);
        else if (strcmp(how, "idle") == 0)
            failed = run_idle(path);
        else if (strcmp(how, "forks") == 0)
            failed = run_forks(path);
        else
            failed = run_file(path);
        if (strcmp(how, "unended") != 0 && Py_FinalizeEx() < 0)
            failed = 98;
    }
    return failed;
}
