using System.CommandLine;
using System.CommandLine.Parsing;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;
using FedRLora.Abstractions.Sending;

namespace FedRLora.Client.Commands;

/// <summary><c>--may-send</c>: what the administrator of a site lets leave it, given where its silo is started.</summary>
internal static class MaySend
{
    private const string Name = "--may-send";

    /// <summary>The option; repeat it for a word of each site, or for more names of tensors.</summary>
    public static Option<string[]> Create() => new(Name)
    {
        Description = "Which tensors of updates may leave the site: job (those of scope job), task (of scope job and of scope task), "
            + "\"nothing-but A,magnitude\" (those of these names) or nothing; SITE=job for one site. By default nothing is held back. "
            + "A plan that would send more is refused",
        HelpName = "WORD",
    };

    /// <summary>
    /// The command line with <c>nothing-but</c> and the names behind it as the one value that they are; a shell gives two without quotes.
    /// </summary>
    public static IReadOnlyList<string> Joined(IReadOnlyList<string> args)
    {
        var joined = new List<string>(args.Count);
        for (var i = 0; i < args.Count; i++)
        {
            joined.Add(args[i]);
            if (args[i] == "--") return [.. joined, .. args.Skip(i + 1)];
            var isValue = i > 0 && args[i - 1] == Name || args[i].StartsWith(Name + "=", StringComparison.Ordinal)
                || args[i].StartsWith(Name + ":", StringComparison.Ordinal);
            if (!isValue || !args[i].EndsWith("nothing-but", StringComparison.Ordinal)) continue;
            while (i + 1 < args.Count && !args[i + 1].StartsWith('-'))
            {
                joined[^1] += " " + args[++i];
                if (!args[i].EndsWith(',') && !(i + 1 < args.Count && args[i + 1].StartsWith(','))) break;
            }
        }

        return joined;
    }

    /// <summary>The words for the sites of a silo; a site that it does not serve is refused.</summary>
    public static SendingLimits Read(ParseResult parsed, Option<string[]> option, IReadOnlyCollection<string> sites)
    {
        var limits = Read(parsed, option);
        return sites.Contains("*") ? limits : Checked(limits, sites, $"the silo serves {string.Join(", ", sites)}");
    }

    /// <summary>The words for the sites of a plan, which are all in this process.</summary>
    /// <exception cref="BadInputException">A word is for another site, or a site refuses the plan.</exception>
    public static SendingLimits Require(ParseResult parsed, Option<string[]> option, FederationPlan plan)
    {
        string[] sites = [.. plan.Clients.Select(static client => client.Site).Distinct(StringComparer.Ordinal)];
        var limits = Checked(Read(parsed, option), sites, $"the sites of the plan are {string.Join(", ", sites)}");
        return limits.Refuses(plan) is [_, ..] refusals ? throw new BadInputException(string.Join('\n', refusals)) : limits;
    }

    /// <summary>A silo that runs has its words from its own start.</summary>
    /// <exception cref="BadInputException">The option is given for one.</exception>
    public static void Refuse(ParseResult parsed, Option<string[]> option)
    {
        if (parsed.GetResult(option) is not null)
            throw new BadInputException($"{Name} is for a run in this process; "
                + $"a silo that runs was given its own, with fedrlora silo {Name}.");
    }

    private static SendingLimits Read(ParseResult parsed, Option<string[]> option)
    {
        try
        {
            return SendingLimits.Parse(parsed.GetValue(option) ?? []);
        }
        catch (BadInputException e)
        {
            throw new BadInputException($"{Name}: {e.Message}", e);
        }
    }

    private static SendingLimits Checked(SendingLimits limits, IReadOnlyCollection<string> sites, string known) =>
        limits.Sites.FirstOrDefault(site => !sites.Contains(site)) is { } other
            ? throw new BadInputException($"{Name}: {other} is no site here; {known}.")
            : limits;
}
