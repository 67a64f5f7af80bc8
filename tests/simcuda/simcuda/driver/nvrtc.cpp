// NVRTC: CUDA C++ → a shared library, by g++. What was compiled is kept in a folder, by a hash of all that it depends on.

#include "sim.h"
#include <algorithm>
#include <fstream>
#include <regex>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

namespace sim {

struct Program {
    std::string source, log, image;
    std::vector<std::string> expressions, lowered;  // templates that the caller asks for by name, and the names of their kernels
};

static std::string environment(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}
static std::string hash(const std::string &text) {  // FNV-1a, twice: 128 bits
    std::string hex;
    for (uint64_t h : {1469598103934665603ull, 1099511628211ull * 31}) {
        for (unsigned char c : text) h = (h ^ c) * 1099511628211ull;
        char digits[20];
        snprintf(digits, sizeof digits, "%016llx", (unsigned long long)h);
        hex += digits;
    }
    return hex;
}
static std::string read_file(const std::string &path) {
    std::ifstream file(path);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

// The names of the kernels of a source that are declared extern "C": those are found by name. Comments are no source.
static std::vector<std::string> kernel_names(const std::string &source) {
    static const std::regex comment("//[^\n]*|/\\*[^*]*\\*+(?:[^/*][^*]*\\*+)*/");
    static const std::regex kernel("extern\\s+\"C\"\\s+__global__\\s+void\\s+(?:__launch_bounds__\\s*\\([^)]*\\)\\s*)?(\\w+)\\s*\\(");
    std::string code = std::regex_replace(source, comment, " ");
    std::vector<std::string> names;
    for (std::sregex_iterator at(code.begin(), code.end(), kernel), end; at != end; ++at) {
        std::string name = (*at)[1];
        if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
    // within extern "C" { … }
    static const std::regex plain("__global__\\s+void\\s+(?:__launch_bounds__\\s*\\([^)]*\\)\\s*)?(\\w+)\\s*\\(");
    if (std::regex_search(code, std::regex("extern\\s+\"C\"\\s*\\{")))
        for (std::sregex_iterator at(code.begin(), code.end(), plain), end; at != end; ++at)
            if (std::find(names.begin(), names.end(), (*at)[1]) == names.end()) names.push_back((*at)[1]);
    return names;
}

// Where a macro makes kernels, their names are there only after the preprocessor.
static std::string without_macros(const std::string &source, const std::string &compiler, const std::string &flags, const std::string &base) {
    static const std::regex macro("#\\s*define[^\n]*(\\\\\n[^\n]*)*__global__");
    if (!std::regex_search(source, macro)) return source;
    std::string in = base + "." + std::to_string(getpid()) + ".cu", out = in + ".ii";
    std::ofstream(in) << source;
    std::string command = "env -u LD_PRELOAD " + compiler + flags + " -E -P -x c++ -o '" + out + "' '" + in + "' 2> /dev/null";
    std::string text = system(command.c_str()) ? source : read_file(out);
    unlink(in.c_str()), unlink(out.c_str());
    return text;
}

// `extern __shared__ T name[];` is memory whose size the launch gives: a pointer to it.
static std::string with_dynamic_shared(const std::string &source) {
    static const std::regex declaration("extern\\s+__shared__\\s+([^;\\[]*?)(\\w+)\\s*\\[\\s*\\]\\s*;");
    return std::regex_replace(source, declaration, "$1 *$2 = ($1 *)sim_dynamic_shared;");
}

static bool waits(const std::string &source) {  // whether threads may wait for others: then each is a fiber
    for (auto word : {"__syncthreads", "__syncwarp", "_sync(", "BlockReduce", "WarpReduce"})
        if (source.find(word) != std::string::npos) return true;
    return false;
}

static std::string quoted(const std::string &text) {
    std::string out = "'";
    for (char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
    return out + "'";
}

// What simcuda's loader says: where its headers and compiled kernels are, and how to call the compiler.
static int compile(Program &program, const std::vector<std::string> &options) {
    std::string folder = environment("SIMCUDA_FOLDER"), compiler = environment("SIMCUDA_COMPILER"), flags;
    for (auto &option : options)
        if (!option.compare(0, 2, "-I") || !option.compare(0, 2, "-D")) flags += " " + quoted(option);
    bool fibers = waits(program.source);
    std::string text = "#line 1 \"kernel.cu\"\n" + with_dynamic_shared(program.source) + "\n#line 1 \"simcuda's kernels\"\n";
    std::string expanded = without_macros(program.source, compiler, flags, folder + "/" + hash(text));
    for (auto &name : kernel_names(expanded)) text += "SIM_KERNEL(" + name + ", " + name + ")\n";
    for (auto &expression : program.expressions) {
        std::string name = "of_" + hash(expression);
        program.lowered.push_back(name);
        text += "SIM_KERNEL(" + name + ", (&" + expression + "))\n";  // a template's instance
    }
    std::string base = folder + "/" + hash(text + flags + compiler + (fibers ? "fibers" : "")), library = base + ".so";
    count("compilation asked for");
    struct stat found;
    if (stat(library.c_str(), &found)) {
        std::string own = base + "." + std::to_string(getpid());
        std::ofstream(own + ".cpp") << text;
        std::string include = folder + (fibers ? "/fibers/simcuda.h" : "/plain/simcuda.h");
        std::string command = "env -u LD_PRELOAD " + compiler + " -include " + quoted(include) + flags + " -o " + quoted(own + ".so") + " " +
                              quoted(own + ".cpp") + " > " + quoted(own + ".log") + " 2>&1";
        int failed = system(command.c_str());
        program.log = read_file(own + ".log");
        count("compilation");
        if (failed) {
            program.log += "\n(the source is " + own + ".cpp)\n";
            return 6;  // NVRTC_ERROR_COMPILATION
        }
        rename((own + ".cpp").c_str(), (base + ".cpp").c_str());
        rename((own + ".so").c_str(), library.c_str());
        unlink((own + ".log").c_str());
    }
    program.image = "simcuda:" + library;
    return SUCCESS;
}

}  // namespace sim

using namespace sim;

API const char *nvrtcGetErrorString(int code) { return code == 6 ? "NVRTC_ERROR_COMPILATION" : "simulated NVRTC: an error"; }
API int nvrtcVersion(int *major, int *minor) {
    std::string version = environment("SIMCUDA_VERSION");  // 12090: CUDA 12.9
    int number = version.empty() ? 12090 : atoi(version.c_str());
    *major = number / 1000, *minor = number % 1000 / 10;
    return SUCCESS;
}
API int nvrtcGetNumSupportedArchs(int *number) {
    *number = 1;
    return SUCCESS;
}
API int nvrtcGetSupportedArchs(int *architectures) {
    architectures[0] = 90;
    return SUCCESS;
}
API int nvrtcCreateProgram(Program **program, const char *source, const char *, int, const char **, const char **) {
    *program = new Program{source, "", "", {}, {}};
    return SUCCESS;
}
API int nvrtcDestroyProgram(Program **program) {
    delete *program;
    *program = nullptr;
    return SUCCESS;
}
API int nvrtcAddNameExpression(Program *program, const char *expression) {
    program->expressions.push_back(expression);
    return SUCCESS;
}
API int nvrtcGetLoweredName(Program *program, const char *expression, const char **name) {
    for (size_t i = 0; i < program->expressions.size(); i++)
        if (program->expressions[i] == expression) {
            *name = program->lowered[i].c_str();
            return SUCCESS;
        }
    return 10;  // NVRTC_ERROR_NAME_EXPRESSION_NOT_VALID
}
API int nvrtcCompileProgram(Program *program, int number, const char **options) {
    return compile(*program, std::vector<std::string>(options, options + number));
}
static int size_of(const std::string &text, size_t *size) {
    *size = text.size() + 1;
    return SUCCESS;
}
static int copy_out(const std::string &text, char *to) {
    memcpy(to, text.c_str(), text.size() + 1);
    return SUCCESS;
}
API int nvrtcGetPTXSize(Program *p, size_t *size) { return size_of(p->image, size); }
API int nvrtcGetPTX(Program *p, char *to) { return copy_out(p->image, to); }
API int nvrtcGetCUBINSize(Program *p, size_t *size) { return size_of(p->image, size); }
API int nvrtcGetCUBIN(Program *p, char *to) { return copy_out(p->image, to); }
API int nvrtcGetProgramLogSize(Program *p, size_t *size) { return size_of(p->log, size); }
API int nvrtcGetProgramLog(Program *p, char *to) { return copy_out(p->log, to); }
