# The same addon through node-gyp, for those who have it rather than cmake: the sources come from native/sources.txt as
# in CMakeLists.txt. Node's headers are those of the installed node (--nodedir) or of the package node-api-headers.
{
  "targets": [
    {
      "target_name": "warren",
      "sources": [
        "<!@(grep '^native/' native/sources.txt)"
      ],
      "include_dirs": [
        "native",
        "<!(node -p \"require('node-api-headers').include_dir\")"
      ],
      "defines": ["NAPI_VERSION=8"],
      "cflags": ["-Wall", "-Wextra", "-fvisibility=hidden"],
      "cflags_cc!": ["-std=gnu++14", "-std=gnu++17", "-std=gnu++20", "-fno-rtti"],
      "cflags_cc": ["-std=c++20", "-O3", "-g1"],
      "libraries": ["-lpthread", "-ldl"]
    }
  ]
}
