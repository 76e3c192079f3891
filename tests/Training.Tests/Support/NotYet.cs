namespace FedRLora.Training.Tests;

/// <summary>
/// The approved list of fixture folders that the code cannot run yet, <c>Golden/not-yet.txt</c>: a folder either runs or is named
/// there, never both and never neither.
/// </summary>
public static class NotYet
{
    private static readonly HashSet<string> Listed = [.. File.ReadLines(Path.Combine(AppContext.BaseDirectory, "Golden", "not-yet.txt"))
        .Select(static line => line.Split('#')[0].Trim()).Where(static line => line.Length > 0)];

    /// <summary>Those of the folders that have to run, as data of a theory.</summary>
    public static TheoryData<string> Without(IEnumerable<string> folders) => [.. folders.Where(static folder => !Listed.Contains(folder))];

    /// <summary>Fails, naming every folder whose state is not what the list says.</summary>
    public static void AssertExact(IReadOnlyCollection<string> folders, string under, Func<string, bool> isImplemented)
    {
        var wrong = folders.Where(folder => isImplemented(folder) == Listed.Contains(folder))
            .Select(folder => Listed.Contains(folder) ? $"{folder} is implemented: remove it from not-yet.txt" : $"{folder} is not implemented and not in not-yet.txt");
        Assert.True(!wrong.Any(), string.Join('\n', wrong));
        Assert.DoesNotContain(Listed, folder => folder.StartsWith(under, StringComparison.Ordinal) && !Directory.Exists(SharedFolder.Of(folder)));
    }
}
