namespace FedRLora.EndToEnd.Tests.Pages;

/// <summary>Commands of the pages that a test cannot run. Each has to be in a page, or the tests fail.</summary>
internal static class NotRun
{
    /// <summary>How a command begins, and why it is not run.</summary>
    public static IReadOnlyList<(string Start, string Reason)> Commands { get; } =
    [
        ("make test", "it runs this test"),
        ("make demo", "two minutes; PageFormTests checks the plan that the Makefile names"),
        ("make soak", "the long forms of tests, an hour and more"),
        ("make bench", "figures of a quiet machine, up to a quarter of an hour each"),
        ("make release", "publishes twice, or runs the demo in a root of Debian: minutes, and a superuser"),
        ("make image", "needs an image to build on; image-test makes one and runs two images: minutes, and a superuser"),
        ("dotnet publish src/Client", "needs a registry with a base image, and minutes; make image-test runs it"),
        ("make samples", "six minutes, and it writes over the samples"),
        ("dotnet run -c Release --project samples/Generator -- all", "the same as make samples"),
        ("dotnet run --project tests/Benchmarks -c Release", "the same as make bench"),
        ("dotnet run -c Release --project tests/Benchmarks", "the same as make bench"),
        ("dotnet publish tests/Benchmarks", "needs the runtime's packages from a feed, and minutes"),
        ("artifacts/benchmarks/FedRLora.Benchmarks", "the program that the line before would publish"),
        ("dotnet test tests/Training.Tests", "make test runs these tests"),
        ("apt-get install unicode-data", "needs root and Debian's package server"),
        ("dotnet run eng/NormalizationTable.cs", "needs the package of the line before"),
        ("npm ci --prefix tests/azurite", "needs the npm registry; make test runs it"),
        ("az login", "needs an account of Azure"),
        ("chgrp GROUP FOLDER", "needs a second group that this user is in"),
    ];

    public static string? Reason(PageCommand command) =>
        Commands.FirstOrDefault(entry => command.Text.StartsWith(entry.Start, StringComparison.Ordinal)).Reason;
}
