using System.Collections.Concurrent;

namespace FedRLora.Deploy.Tests;

/// <summary>The chart, and the values that it is tried with: files of its folder <c>ci</c>, laid over each other.</summary>
internal static class Chart
{
    public const string Folder = "deploy/k8s/fedrlora";

    /// <summary>All that the chart can make, somewhere in one of these.</summary>
    public static IReadOnlyList<string> Cases { get; } =
    [
        "hub", "site", "site gpu", "site mig", "workload-identity", "hub existing-secrets", "claims",
        "site gpu existing-secrets everything",
    ];

    /// <summary>The one with everything on.</summary>
    public static string Everything => Cases[^1];

    private static readonly ConcurrentDictionary<string, Task<string>> Rendered = new();

    /// <summary>The documents of a case, rendered once.</summary>
    public static Task<string> RenderedAsync(string name) => Rendered.GetOrAdd(name, static name => RenderAsync(Files(name)));

    /// <summary>Renders anew.</summary>
    public static async Task<string> RenderAsync(params string[] words) => (await TemplateAsync(words)).Ok;

    /// <summary>What <c>helm template</c> says.</summary>
    public static Task<Said> TemplateAsync(params string[] words) => Shell.HelmAsync(["template", "fedrlora", Folder, .. words]);

    /// <summary>The options that name a case's files.</summary>
    public static string[] Files(string name) =>
        [.. name.Split(' ').Select(static file => $"--values={Folder}/ci/{file}.yaml")];
}
