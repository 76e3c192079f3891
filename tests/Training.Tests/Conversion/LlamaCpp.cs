using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace FedRLora.Training.Tests.Conversion;

/// <summary>llama.cpp itself, from the package LLamaSharp.Backend.Cpu 0.30.0: logits of a model, with an adapter or without.</summary>
/// <remarks>
/// Its structures are passed as blocks of bytes; the places of the fields that are set are those of <c>llama.h</c> of that version, as
/// LLamaSharp 0.30.0 declares them.
/// </remarks>
internal static unsafe partial class LlamaCpp
{
    private const string Library = "llama";
    private const int Context = 512;

    private static readonly string Folder = Path.Combine(AppContext.BaseDirectory, "llama.cpp");
    private static readonly StringBuilder Said = new();
    private static readonly nint Handle = Load();

    /// <summary>Why it cannot be asked; null where it can.</summary>
    public static string? Absent { get; } = !OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64
        ? "llama.cpp's library is there for linux-x64 alone"
        : Handle == 0 ? $"llama.cpp's library cannot be loaded from {Folder}" : null;

    /// <summary>Logits after each of some tokens, <c>[T, V]</c>.</summary>
    /// <param name="model">A GGUF file.</param>
    /// <param name="tokens">The text.</param>
    /// <param name="vocabulary">V.</param>
    /// <param name="adapter">A GGUF adapter on it.</param>
    public static float[] Logits(string model, int[] tokens, int vocabulary, string? adapter = null)
    {
        lock (Said)
        {
            Said.Clear();
            LogSet(&Log, null);
            var modelOptions = ModelDefaults();
            Unsafe.Write(modelOptions.Bytes + 66, (byte)0); // use_extra_bufts: weights stay as they are
            var loaded = LoadModel(model, modelOptions);
            if (loaded == 0) throw new InvalidOperationException($"llama.cpp does not load {model}: {Said}");
            try
            {
                var options = ContextDefaults();
                foreach (var at in (int[])[0, 4, 8]) Unsafe.Write(options.Bytes + at, Context); // n_ctx, n_batch, n_ubatch
                foreach (var at in (int[])[24, 28]) Unsafe.Write(options.Bytes + at, 1); // n_threads, n_threads_batch
                foreach (var at in (int[])[48, 104, 108]) Unsafe.Write(options.Bytes + at, 0); // no flash attention, type_k and type_v F32
                var context = Initialize(loaded, options);
                if (context == 0) throw new InvalidOperationException($"llama.cpp has no context for {model}: {Said}");
                try
                {
                    return Logits(context, loaded, tokens, vocabulary, adapter);
                }
                finally
                {
                    Free(context);
                }
            }
            finally
            {
                FreeModel(loaded);
            }
        }
    }

    private static float[] Logits(nint context, nint model, int[] tokens, int vocabulary, string? adapter)
    {
        if (adapter is not null)
        {
            var lora = LoadAdapter(model, adapter); // goes with the model
            if (lora == 0) throw new InvalidOperationException($"llama.cpp does not load {adapter}: {Said}");
            var scale = 1f;
            if (SetAdapters(context, &lora, 1, &scale) != 0)
                throw new InvalidOperationException($"llama.cpp does not take {adapter}: {Said}");
        }

        var asked = Enumerable.Repeat((byte)1, tokens.Length).ToArray();
        fixed (int* first = tokens)
        fixed (byte* all = asked)
        {
            if (Decode(context, new() { Count = tokens.Length, Tokens = first, Logits = all }) is not 0 and var code)
                throw new InvalidOperationException($"llama.cpp does not compute: {code}, {Said}");
        }

        return new ReadOnlySpan<float>(LogitsOf(context), tokens.Length * vocabulary).ToArray();
    }

    private static nint Load() => OperatingSystem.IsLinux() && NativeLibrary.TryLoad(Path.Combine(Folder, "libllama.so"), out var handle)
        ? handle
        : 0;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Log(int level, byte* text, void* data)
    {
        const int Warning = 3;
        if (level >= Warning) Said.Append(Marshal.PtrToStringUTF8((nint)text));
    }

    static LlamaCpp() => NativeLibrary.SetDllImportResolver(typeof(LlamaCpp).Assembly,
        static (name, _, _) => name == Library ? Handle : 0);

    [LibraryImport(Library, EntryPoint = "llama_log_set")]
    private static partial void LogSet(delegate* unmanaged[Cdecl]<int, byte*, void*, void> callback, void* data);

    [LibraryImport(Library, EntryPoint = "llama_model_default_params")]
    private static partial ModelOptions ModelDefaults();

    [LibraryImport(Library, EntryPoint = "llama_context_default_params")]
    private static partial ContextOptions ContextDefaults();

    [LibraryImport(Library, EntryPoint = "llama_model_load_from_file", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint LoadModel(string path, ModelOptions options);

    [LibraryImport(Library, EntryPoint = "llama_init_from_model")]
    private static partial nint Initialize(nint model, ContextOptions options);

    [LibraryImport(Library, EntryPoint = "llama_adapter_lora_init", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint LoadAdapter(nint model, string path);

    [LibraryImport(Library, EntryPoint = "llama_set_adapters_lora")]
    private static partial int SetAdapters(nint context, nint* adapters, nuint count, float* scales);

    [LibraryImport(Library, EntryPoint = "llama_decode")]
    private static partial int Decode(nint context, Batch batch);

    [LibraryImport(Library, EntryPoint = "llama_get_logits")]
    private static partial float* LogitsOf(nint context);

    [LibraryImport(Library, EntryPoint = "llama_free")]
    private static partial void Free(nint context);

    [LibraryImport(Library, EntryPoint = "llama_model_free")]
    private static partial void FreeModel(nint model);

    [StructLayout(LayoutKind.Sequential, Pack = 8)]
    private struct ModelOptions
    {
        private fixed long _fields[9];

        public byte* Bytes => (byte*)Unsafe.AsPointer(ref this);
    }

    [StructLayout(LayoutKind.Sequential, Pack = 8)]
    private struct ContextOptions
    {
        private fixed long _fields[20];

        public byte* Bytes => (byte*)Unsafe.AsPointer(ref this);
    }

    // llama_batch: what is null llama.cpp fills in.
    [StructLayout(LayoutKind.Explicit, Size = 56)]
    private struct Batch
    {
        [FieldOffset(0)] public int Count;
        [FieldOffset(8)] public int* Tokens;
        [FieldOffset(48)] public byte* Logits;
    }
}

/// <summary>A fact that is skipped where llama.cpp cannot be asked.</summary>
public sealed class LlamaCppFactAttribute : FactAttribute
{
    public LlamaCppFactAttribute() => Skip = LlamaCpp.Absent!;
}

/// <summary>A theory, likewise.</summary>
public sealed class LlamaCppTheoryAttribute : TheoryAttribute
{
    public LlamaCppTheoryAttribute() => Skip = LlamaCpp.Absent!;
}
